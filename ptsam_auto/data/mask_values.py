"""The values of one mask in a compact form: the distinct values, their pixels, and the area of each.

A value is a grey level or a label (a number), a colour ("#ff0000"), or "transparent". Masks that were compressed with
loss, resized or drawn with a soft brush contain many unintended values. Each of their pixels gets the nearest of the
few levels that cover flat areas.
"""

# H W  rows and columns, px

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ptsam_auto.data.levels import (
    BLACK,
    MOST_LEVELS,
    SAME_LEVEL,
    WHITE,
    Value,
    colour_levels,
    grey_levels,
    has_rare_slopes,
    is_smeared,
    number,
)
from ptsam_auto.data.raster import Raster, UnfitError

TRANSPARENT = "transparent"
VOC_VOID = "#e0e0c0"

SOFT_MAXIMUM = 64  # a mask whose largest value is below this contains labels, whatever their arrangement
CORNER = 0.05  # size of a corner, as a fraction of a side
PROBABILITY_STEPS = 200
LABELS_LOOKED_AT = 40  # maximum number of labels of a mask for which connected areas are counted


@dataclass(frozen=True)
class MaskValues:
    """One mask.

    Args:
        label: Name of the mask in messages.
        shape: H, W.
        values: Distinct values of the mask, in no particular order.
        counts: Number of pixels of each value.
        smeared: True if the values were restored to levels; 0 and 255 are then black and white.
        picture: True if there are too many levels, or slopes everywhere, so that the file is no mask.
        probabilities: True if the stored values are fractions from 0 to 1.
        indices: Indices of the values in the file's palette; {} if there is no palette.
        voc: True if the file has PASCAL VOC's palette.
        packed: Index in `values` of each pixel, compressed.
        brightness: Mean brightness of the image on the pixels of each value, 0 to 255; () if the image is not known.
        spread: Standard deviation of the image, grey levels.
        border: Number of pixels of each value on the border of the image.
        corners: For each value, the number of the image's four corners in which it has the most area.
        objects: Number of connected areas of each value, for the first LABELS_LOOKED_AT values that are not 0.
        enclosed: Values that lie within another one, and have no neighbour with value 0.
    """

    label: str
    shape: tuple[int, int]
    values: tuple[Value, ...]
    counts: tuple[int, ...]
    smeared: bool = False
    picture: bool = False
    probabilities: bool = False
    indices: dict[Value, int] = field(default_factory=dict)
    voc: bool = False
    packed: bytes = b""
    brightness: tuple[float, ...] = ()
    spread: float = 0.0
    border: tuple[int, ...] = ()
    corners: tuple[int, ...] = ()
    objects: dict[Value, int] = field(default_factory=dict)
    enclosed: tuple[Value, ...] = ()

    @classmethod
    def of(cls, raster: Raster, label: str, image: np.ndarray | None = None) -> "MaskValues":
        """Analyse the values of a mask.

        Args:
            raster: Mask with its orientation applied.
            label: Name of the mask in messages.
            image: Image of the same size, H W 3, uint8, for the brightness of the values; None if it is not known.

        Raises:
            UnfitError: The values are not those of a mask.
        """
        alpha = None if raster.palette is not None else raster.alpha
        if alpha is not None and (raster.values == raster.values[:1, :1]).all() and alpha.min() != alpha.max():
            raster, alpha = Raster(alpha[..., None], lossy=raster.lossy), None  # one colour: its opacity is the mask
        values, codes, about = _values(raster, label)
        if alpha is not None:
            values, codes = _with_alpha(values, codes, alpha)
        counts = np.bincount(codes.ravel(), minlength=len(values))
        brightness: tuple[float, ...] = ()
        spread = 0.0
        if image is not None:
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            sums = np.bincount(codes.ravel(), weights=grey.ravel(), minlength=len(values))
            spread = float(grey.std())
            brightness = tuple((sums / np.maximum(counts, 1)).round(2).tolist())
        edges = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
        small = np.uint8 if len(values) <= 256 else np.uint16 if len(values) <= 65536 else np.uint32
        return replace(
            about,
            values=tuple(values),
            counts=tuple(counts.tolist()),
            packed=zlib.compress(codes.astype(small).tobytes(), 1),
            brightness=brightness,
            spread=spread,
            border=tuple(np.bincount(edges, minlength=len(values)).tolist()),
            corners=_corners(codes, len(values)),
            objects=_objects(values, codes) if len(values) > 2 else {},
            enclosed=_enclosed(values, codes) if 2 < len(values) <= MOST_LEVELS else (),
        )

    @classmethod
    def drawn(cls, mask: np.ndarray, label: str) -> "MaskValues":
        """Return the values of a mask that is not a file, H W, bool; their meaning is certain."""
        return cls.of(Raster(mask[..., None]), label)

    def codes(self) -> np.ndarray:
        """Return the index in `values` of each pixel, H W."""
        small = np.uint8 if len(self.values) <= 256 else np.uint16 if len(self.values) <= 65536 else np.uint32
        return np.frombuffer(zlib.decompress(self.packed), small).reshape(self.shape)

    def is_one_of(self, value: Value, others: Sequence[Value]) -> bool:
        """Return whether a value is one of the others; for a smeared mask, nearly the same value is sufficient."""
        return value in others or (self.smeared and any(_alike(value, other) for other in others))


def harmonised(masks: Sequence[MaskValues]) -> list[MaskValues]:
    """Return the masks with nearly equal levels of smeared masks merged to one value, the one with the largest area."""
    areas: Counter[Value] = Counter()
    for mask in masks:
        if mask.smeared:
            areas.update(dict(zip(mask.values, mask.counts, strict=True)))
    merged: dict[Value, Value] = {}
    for value, _ in areas.most_common():
        merged[value] = next((other for other in merged.values() if _alike(value, other)), value)
    return [
        replace(mask, values=tuple(merged[value] for value in mask.values), objects={}) if mask.smeared else mask
        for mask in masks
    ]


def _alike(first: Value, second: Value) -> bool:
    if isinstance(first, str) or isinstance(second, str):
        one, other = _channels(first), _channels(second)
        return bool(one and other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) <= SAME_LEVEL
    if first in (BLACK, WHITE) or second in (BLACK, WHITE) or max(first, second) <= 1:
        return first == second
    return abs(first - second) <= SAME_LEVEL


def _channels(value: Value) -> list[int]:
    """Return red, green and blue of a value; [] if it is not a colour."""
    if isinstance(value, str):
        return [int(value[i : i + 2], 16) for i in (1, 3, 5)] if value.startswith("#") else []
    return [int(value)] * 3


def _values(raster: Raster, label: str) -> tuple[list[Value], np.ndarray, MaskValues]:
    """Return the distinct values, the index of each pixel's value among them, and the other known facts."""
    about = MaskValues(label, (raster.values.shape[0], raster.values.shape[1]), (), ())
    if raster.palette is not None:
        return _palette_values(raster, raster.palette, about)
    stored = raster.values
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * np.uint8(WHITE)
    if stored.shape[-1] > 1 and (stored == stored[..., :1]).all():
        stored = stored[..., :1]
    if stored.shape[-1] == 3 and stored.dtype.kind in "ui":
        return _colour_values(stored, raster.lossy, about)
    if stored.shape[-1] != 1:
        raise UnfitError(f"has {stored.shape[-1]} channels; expected one, or a colour: save each class as a mask")
    grey = stored[..., 0]
    if grey.dtype.kind == "f":
        grey, about = _whole_numbers(grey, about)
    distinct, codes = _distinct(grey)
    top = 1.0 if about.probabilities else max(WHITE, float(distinct[-1] or 0))
    if about.probabilities:
        distinct = distinct / PROBABILITY_STEPS
    soft = about.probabilities or (distinct[-1] >= SOFT_MAXIMUM and distinct[0] >= 0)
    if soft and (raster.lossy or about.probabilities or (len(distinct) > 2 and is_smeared(codes, len(distinct)))):
        levels, picture = grey_levels(distinct[codes].astype(np.float32), top)
        nearest = np.abs(distinct[:, None].astype(np.float64) - np.array(levels)[None]).argmin(axis=1)
        return list(levels), nearest[codes], replace(about, smeared=True, picture=picture)
    return [number(value) for value in distinct], codes, about


def _palette_values(
    raster: Raster, palette: np.ndarray, about: MaskValues
) -> tuple[list[Value], np.ndarray, MaskValues]:
    used, codes = _distinct(raster.values[..., 0])
    values = [_colour(palette[index]) for index in used]
    distinct = list(dict.fromkeys(values))
    places = np.array([distinct.index(value) for value in values])
    indices = {value: int(index) for value, index in zip(reversed(values), reversed(used.tolist()), strict=True)}
    voc = len(palette) == 256 and palette[1].tolist() == [128, 0, 0] and _colour(palette[255]) == VOC_VOID
    return distinct, places[codes], replace(about, indices=indices, voc=voc)


def _colour_values(stored: np.ndarray, lossy: bool, about: MaskValues) -> tuple[list[Value], np.ndarray, MaskValues]:
    if stored.dtype != np.uint8:
        stored = (stored >> 8 if int(stored.max()) > WHITE else stored).astype(np.uint8)
    red, green, blue = (stored[..., channel].astype(np.int32) for channel in range(3))
    distinct, codes = _distinct(red << 16 | green << 8 | blue)
    if lossy or (len(distinct) > MOST_LEVELS and has_rare_slopes(codes, len(distinct))):
        levels, picture = colour_levels(stored)
        table = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1).astype(np.float64)
        nearest = ((table[:, None] - levels[None]) ** 2).sum(axis=2).argmin(axis=1)
        return [_colour(level) for level in levels], nearest[codes], replace(about, smeared=True, picture=picture)
    return [_colour((value >> 16, value >> 8 & 255, value & 255)) for value in distinct.tolist()], codes, about


def _whole_numbers(grey: np.ndarray, about: MaskValues) -> tuple[np.ndarray, MaskValues]:
    """Return labels that are stored as floats as integers, and probabilities as numbers of steps."""
    if not np.isfinite(grey).all():
        raise UnfitError("holds NaN or infinite values; expected labels, or probabilities between 0 and 1")
    if (grey == np.rint(grey)).all():
        return grey.astype(np.int64), about
    low, high = float(grey.min()), float(grey.max())
    if low < 0 or high > WHITE:
        raise UnfitError(
            f"holds fractions from {low:.3g} to {high:.3g}; expected labels, or probabilities between 0 and 1"
        )
    if high <= 1:
        return np.ceil(grey * PROBABILITY_STEPS).astype(np.int64), replace(about, probabilities=True)
    return np.ceil(grey).astype(np.int64), about


def _distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct integers, and the index of each pixel's value among them."""
    if numbers.dtype in (np.uint8, np.uint16):
        present = np.flatnonzero(np.bincount(numbers.ravel()))
        places = np.zeros(int(present[-1]) + 1, np.uint8 if len(present) <= 256 else np.int64)
        places[present] = np.arange(len(present))
        return present, places[numbers]
    distinct, codes = np.unique(numbers, return_inverse=True)
    return distinct, codes.reshape(numbers.shape)


def _with_alpha(values: list[Value], codes: np.ndarray, alpha: np.ndarray) -> tuple[list[Value], np.ndarray]:
    """Add the value "transparent" for transparent pixels, unless the alpha channel is the same everywhere."""
    clear = alpha < alpha.max() / 2  # the edge of a soft brush is cut at half of its opacity
    if not clear.any() or clear.all():
        return values, codes
    used = np.unique(codes[~clear])
    kept: list[Value] = [values[place] for place in used]
    places = np.zeros(len(values), np.int64)
    places[used] = np.arange(len(used))
    return [*kept, TRANSPARENT], np.where(clear, len(kept), places[codes])


def _corners(codes: np.ndarray, count: int) -> tuple[int, ...]:
    """Return for each value the number of the four corners in which it has the most area."""
    height, width = (max(1, round(CORNER * side)) for side in codes.shape)
    owners = [
        int(np.bincount(codes[rows, columns].ravel()).argmax())
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return tuple(np.bincount(owners, minlength=count).tolist())


def _objects(values: Sequence[Value], codes: np.ndarray) -> dict[Value, int]:
    """Return the number of connected areas of each value that is not 0."""
    areas: dict[Value, int] = {}
    for place, value in enumerate(values):
        if value != BLACK and len(areas) < LABELS_LOOKED_AT:
            own = (codes == place).astype(np.uint8)
            left, top, width, height = cv2.boundingRect(own)
            areas[value] = cv2.connectedComponents(own[top : top + height, left : left + width])[0] - 1
    return areas


def _enclosed(values: Sequence[Value], codes: np.ndarray) -> tuple[Value, ...]:
    """Return the values that have no neighbour with value 0."""
    if BLACK not in values:
        return ()
    ground = (codes == values.index(BLACK)).astype(np.uint8)
    beside = cv2.dilate(ground, np.ones((3, 3), np.uint8)) > 0
    return tuple(
        value
        for place, value in enumerate(values)
        if value != BLACK and not (beside & (codes == place)).any() and (codes == place).any()
    )


def _colour(rgb: Sequence[int] | np.ndarray) -> Value:
    """Return a colour as text such as "#ff0000", or as its grey level if it is grey."""
    red, green, blue = (int(part) for part in rgb)
    return red if red == green == blue else f"#{red:02x}{green:02x}{blue:02x}"
