"""Converts the stored values of an image to the image that the network sees.

The rule is saved with a specialist, so that it is the same in training and in prediction.
"""

# H W  rows and columns, px;  C  channels

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptsam_auto.data.raster import Raster, UnfitError
from ptsam_auto.data.value_range import Counted, Listed, Values, shown_range
from ptsam_auto.errors import ConfigError

AS_STORED, EACH, FIXED = "as-stored", "each", "fixed"
SCALINGS_IN_WORDS = {
    AS_STORED: "8-bit values as they are; all others scaled, each image by its own range",
    EACH: "each image by its own range, 8-bit images too",
    FIXED: "all images by one range",
}
MOST_USED = 3  # channels: red, green and blue


@dataclass(frozen=True)
class ImageReading:
    """The rule by which channels of images are selected and scaled; it is saved with a specialist.

    Args:
        channels: Numbers of the channels that are shown as red, green and blue, counted from 1; () for the first three.
        stored: Number of channels in the files. Images with another number are rejected, except that grey and colour
            images can be mixed. 0 if it is not known or not the same for all images.
        files: Number of files per image, if each channel has its own file (nnU-Net's _0000, _0001).
        scaling: "as-stored", "each" or "fixed"; see SCALINGS_IN_WORDS.
        low: Stored value of each shown channel that becomes black; only if scaling is "fixed".
        high: Stored value of each shown channel that becomes white; only if scaling is "fixed".

    Raises:
        ConfigError: A value is outside its range.
    """

    channels: tuple[int, ...] = ()
    stored: int = 0
    files: int = 1
    scaling: str = AS_STORED
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.channels) > MOST_USED or min(self.channels, default=1) < 1:
            found = ", ".join(map(str, self.channels))
            raise ConfigError(f"the channels are {found}; expected one to three numbers, counted from 1")
        if self.scaling not in SCALINGS_IN_WORDS:
            raise ConfigError(f"the scaling is {self.scaling}; expected one of {', '.join(SCALINGS_IN_WORDS)}")
        if (self.scaling == FIXED) != bool(self.low) or len(self.low) != len(self.high):
            raise ConfigError("a fixed scaling needs the values that are black and white, and no other scaling has any")


READ_AS_STORED = ImageReading()


@dataclass(frozen=True)
class Seen:
    """An image as the network sees it, and facts about how it was read.

    Args:
        pixels: Image, H W 3, uint8, RGB.
        stored: Number of channels in the file.
        dtype: Type of the stored values, such as "uint16".
        low: Stored value of each shown channel that became black; () if nothing was scaled.
        high: Stored value of each shown channel that became white.
        orientation: EXIF number of the orientation that was applied; 1 for none.
        ours: True for a mask that ptsam-auto predicted, which is not an image.
    """

    pixels: np.ndarray
    stored: int
    dtype: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    orientation: int = 1
    ours: bool = False

    @property
    def constant(self) -> bool:
        """Return whether all pixels have the same value."""
        first = self.pixels[:1, :1]
        return bool((self.pixels[::16, ::16] == first).all() and (self.pixels == first).all())


Ends = tuple[tuple[float, ...], tuple[float, ...]]
"""Stored values of each shown channel that become black, and those that become white."""


def seen(raster: Raster, reading: ImageReading = READ_AS_STORED, ends: Ends | None = None) -> Seen:
    """Convert stored values to the image that the network sees.

    Args:
        raster: Image with its orientation applied.
        reading: Rule by which channels are selected and scaled.
        ends: Range of the whole image if the raster is a region of it, or None for the range of the raster.

    Raises:
        UnfitError: A channel does not exist, or contains no finite number.
    """
    values, count = _shown(raster, reading)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype != np.uint8 or reading.scaling != AS_STORED:
        low, high = ends or _range(values, reading)
        values = scaled(values, low, high)
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    elif values.shape[-1] == 2:
        values = np.pad(values, ((0, 0), (0, 0), (0, 1)))
    pixels = np.ascontiguousarray(values)
    return Seen(pixels, count, str(raster.values.dtype), low, high, raster.orientation, raster.ours)


def _shown(raster: Raster, reading: ImageReading) -> tuple[np.ndarray, int]:
    """Return the stored values of the channels that are shown, H W C, and the number of all channels."""
    values = raster.seen()
    count = values.shape[-1]
    if reading.stored not in (0, count) and {reading.stored, count} != {1, 3}:  # grey and colour go together
        raise UnfitError(f"has {_channels(count)}, but the specialist was trained on images with {reading.stored}")
    chosen = reading.channels or tuple(range(1, min(count, MOST_USED) + 1))
    if max(chosen) > count:
        raise UnfitError(f"has {_channels(count)}, but channel {max(chosen)} is asked for")
    return values[..., [number - 1 for number in chosen]], count


class RangeOfRegions:
    """Finds the range of an image that is too large to be read at once, from its regions.

    Args:
        reading: Rule by which channels are selected and scaled.
    """

    def __init__(self, reading: ImageReading) -> None:
        self._reading = reading
        self._counts: list[np.ndarray] = []

    def is_needed(self, raster: Raster) -> bool:
        """Return whether the image is scaled by its own range, given any region of it; raises UnfitError."""
        dtype = _shown(raster, self._reading)[0].dtype
        own_range = dtype != np.uint8 or self._reading.scaling == EACH
        return own_range and dtype.kind != "b" and self._reading.scaling != FIXED

    def can_count(self, raster: Raster) -> bool:
        """Return whether the values are of a type whose values are few enough to be counted; raises UnfitError."""
        return _shown(raster, self._reading)[0].dtype in (np.uint8, np.uint16)

    def add(self, raster: Raster) -> None:
        """Count the values of a region; the regions together are the whole image, each pixel once."""
        values = _shown(raster, self._reading)[0]
        numbers = np.iinfo(values.dtype).max + 1
        counts = [np.bincount(values[..., channel].ravel(), minlength=numbers) for channel in range(values.shape[-1])]
        self._counts = [a + b for a, b in zip(self._counts, counts, strict=True)] if self._counts else counts

    def ends(self) -> Ends:
        """Return the range that `seen` would find in the whole image."""
        return _ends([Counted(counts) for counts in self._counts])


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"


def _range(values: np.ndarray, reading: ImageReading) -> tuple[tuple[float, ...], tuple[float, ...]]:
    count = values.shape[-1]
    if reading.scaling == FIXED:
        if len(reading.low) not in (1, count):
            raise UnfitError(
                f"shows {count} channels, but {len(reading.low)} were scaled when the specialist was trained"
            )
        return reading.low * (count // len(reading.low)), reading.high * (count // len(reading.high))
    return _ends([_finite(values[..., channel]) for channel in range(count)])


def _ends(channels: Sequence[Values]) -> Ends:
    ranges = [shown_range(values) for values in channels]
    return tuple(low for low, _ in ranges), tuple(high for _, high in ranges)


def value_range(channel: np.ndarray) -> tuple[float, float]:
    """Return the stored values that are scaled to black and white.

    These are the 0.1 and 99.9 percentiles of the picture alone: a border, a burned-in bar or padding (one value at the
    end of the range, far from all others) is left out, and so are hot pixels and debris beyond three times the range of
    the inner 96 %.

    Args:
        channel: One channel, H W, any integer or float type.

    Raises:
        UnfitError: No value is a finite number.
    """
    return shown_range(_finite(channel))


def _finite(channel: np.ndarray) -> Listed:
    """Return the finite numbers of a channel; raises UnfitError if there are none."""
    finite = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel.ravel()
    if finite.size == 0:
        raise UnfitError("holds no number: every value is NaN or infinite")
    return Listed(finite)


def scaled(values: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """Return values scaled to H W C, uint8: `low` becomes 0, `high` becomes 255, and NaN becomes 0."""
    bottom, top = np.array(low), np.array(high)
    width = np.where(top > bottom, top - bottom, 1.0)
    share = ((values.astype(np.float64) - bottom) / width).clip(0, 1)
    return np.rint(np.nan_to_num(share) * 255).astype(np.uint8)
