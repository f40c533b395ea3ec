"""Reads TIFF files: determines which axes are pages, rows, columns and channels, and the meaning of the colours."""

# H W  rows and columns, px;  C  channels

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptsam_auto.data.raster import Pages, Planes, Raster, check_size, unreadable

ALPHA_SAMPLES = (1, 2)
JPEG_IN_TIFF = (6, 7)
LOSSY_IN_TIFF = (*JPEG_IN_TIFF, 33003, 33004, 33005, 34712, 50001)  # JPEG, JPEG 2000, WebP
MIN_IS_WHITE, RGB, SEPARATED, YCBCR, CIELAB = 0, 2, 5, 6, 8
FEW_PLANES = (2, 3, 4)
MOST_CHANNELS = 16
SLIM = 4  # H and W are at least this many times C if C is a number of channels, not of columns


@dataclass(frozen=True)
class Stack:
    """The main series of a TIFF, with the kind of each axis: page, row, column or channel."""

    path: Path
    series: Any  # tifffile.TiffPageSeries, which has no types
    axes: str  # one letter per dimension: "P" page, "Y" row, "X" column, "C" channel
    shape: tuple[int, ...]
    pages: Pages = field(default_factory=Pages)
    is_slide: bool = False

    @classmethod
    def of(cls, tiff: Any, planes: Planes) -> "Stack":  # noqa: ANN401 - tifffile has no types
        """Determine the axes.

        Raises:
            DatasetError: There is no single main series, its axes are not valid, or its numbers are complex.
        """
        path = Path(tiff.filehandle.path)
        mains = [series for series in tiff.series if not series.keyframe.is_reduced]
        if tiff.is_svs:
            mains = mains[:1]  # a slide's thumbnail is not marked as one
        if len(mains) != 1:
            raise unreadable(path, f"holds {len(mains)} images of different shapes; expected one shape")
        series, shape = mains[0], tuple(mains[0].shape)
        if series.dtype.kind == "c":
            raise unreadable(path, "holds complex numbers; save their magnitude or their phase instead")
        axes, unnamed = _kinds(series.axes, shape, planes)
        if sorted(axes.replace("P", "").replace("C", "")) != ["X", "Y"]:
            raise unreadable(path, f"has the axes {series.axes}; expected rows and columns")
        pages = pages_along(series.axes, axes, shape)
        pages = replace(pages, unnamed=unnamed, files=_files(series, path) if tiff.is_ome else ())
        return cls(path, series, axes, shape, pages, is_slide=bool(tiff.is_svs))

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and the width of a page, px."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    def raster(self, page: int) -> Raster:
        """Decode one page, without applying its orientation.

        Raises:
            DatasetError: Its kind of colours is not read, or it is a slide that is too large to be read as one image.
        """
        if self.is_slide:
            check_size(self.path, *self.size)
        return self.interpreted(self._plane(page))

    def interpreted(self, values: np.ndarray) -> Raster:
        """Return stored values of a page or of a region (H W C) with the file's information about them.

        Raises:
            DatasetError: Its kind of colours is not read.
        """
        keyframe, alpha = self.series.keyframe, None
        if "S" in self.series.axes:
            alphas = sum(int(sample) in ALPHA_SAMPLES for sample in keyframe.extrasamples)
            if alphas and values.shape[-1] > alphas:
                values, alpha = values[..., :-alphas], values[..., -1]
        palette = None
        if keyframe.colormap is not None and values.shape[-1] == 1 and values.dtype.kind == "u":
            palette = (keyframe.colormap.T >> 8).astype(np.uint8)
        photometric = int(keyframe.photometric)
        tag = keyframe.tags.get("Orientation")
        return Raster(
            self._as_viewed(values, photometric) if palette is None else values,
            palette,
            alpha,
            lossy=int(keyframe.compression) in LOSSY_IN_TIFF,
            colours=photometric in (RGB, SEPARATED, YCBCR) and values.shape[-1] >= 3,
            orientation=int(tag.value) if tag is not None else 1,
        )

    def _as_viewed(self, values: np.ndarray, photometric: int) -> np.ndarray:
        """Apply the file's own information about its colours: 0 may be white, four samples may be inks (CMYK)."""
        if photometric == MIN_IS_WHITE:
            if values.dtype == bool:  # tifffile writes every bool array as min-is-white; its True values must stay True
                return values if self._by_tifffile() else ~values
            if values.dtype.kind == "u":
                return values.dtype.type(2 ** int(self.series.keyframe.bitspersample) - 1) - values
            return -values
        if photometric == SEPARATED and values.shape[-1] == 4 and values.dtype.kind == "u":
            white = np.iinfo(values.dtype).max
            inks, black = values[..., :3].astype(np.float64), values[..., 3:].astype(np.float64)
            return np.rint((white - inks) * (white - black) / white).astype(values.dtype)
        if photometric == YCBCR and int(self.series.keyframe.compression) not in JPEG_IN_TIFF:
            if values.dtype != np.uint8 or values.shape[-1] != 3:
                raise unreadable(self.path, "has YCbCr colours of an unusual kind; save it as RGB")
            return np.asarray(Image.fromarray(np.ascontiguousarray(values), "YCbCr").convert("RGB"))
        if photometric == CIELAB:
            raise unreadable(self.path, "has CIELAB colours, which are not read; save it as RGB")
        return values

    def _by_tifffile(self) -> bool:
        tag = self.series.keyframe.tags.get("Software")
        return tag is not None and str(tag.value).startswith("tifffile")

    def planes_of(self, page: int) -> list[Any] | None:
        """Return tifffile's pages that hold one page, in order: one, or one per channel; None if they hold more."""
        inner = self.axes.lstrip("P")
        each, rest = divmod(len(self.series.pages), self.pages.count)
        if "P" in inner or rest or not (each == 1 or (inner == "CYX" and each == self._size("C"))):
            return None
        return [self.series.pages[number] for number in range(page * each, (page + 1) * each)]

    def _plane(self, page: int) -> np.ndarray:
        planes = self.planes_of(page)
        if planes is not None:
            key = page if len(planes) == 1 else slice(page * len(planes), (page + 1) * len(planes))
            values, axes = self.series.asarray(key=key), self.axes.lstrip("P")  # one page instead of the whole stack
        else:
            values, axes = self.series.asarray(), self.axes
        shape = self.shape[len(self.axes) - len(axes) :]
        stack = as_stack(values.reshape(shape), axes)
        return stack[page if len(stack) > 1 else 0]

    def _size(self, kind: str) -> int:
        return math.prod(size for axis, size in zip(self.axes, self.shape, strict=True) if axis == kind)


def kinds_of(axes: str) -> str:
    """Return what each axis is: "P" page, "Y" row, "X" column or "C" channel, by tifffile's letters."""
    return "".join(axis if axis in "YX" else "C" if axis in "CS" else "P" for axis in axes)


def pages_along(axes: str, kinds: str, shape: tuple[int, ...]) -> Pages:
    """Return the pages that axes of these letters, kinds and sizes hold."""
    counted = [one for one in zip(axes, kinds, shape, strict=True) if one[1] == "P" and one[2] > 1]
    return Pages("".join(letter for letter, _, _ in counted), tuple(size for _, _, size in counted))


def as_stack(values: np.ndarray, kinds: str) -> np.ndarray:
    """Return pages, rows, columns and channels: P H W C.

    Args:
        values: an array whose axes are of these kinds.
        kinds: of each axis, in the order of the array; one is "Y" and one is "X".
    """
    order = sorted(range(len(kinds)), key=lambda i: "PYXC".index(kinds[i]))
    height, width = (values.shape[kinds.index(kind)] for kind in "YX")
    channels = math.prod(size for kind, size in zip(kinds, values.shape, strict=True) if kind == "C")
    return values.transpose(order).reshape(-1, height, width, channels)


def _kinds(axes: str, shape: tuple[int, ...], planes: Planes) -> tuple[str, int]:
    """Return the kind of each axis, and the number of unnamed planes that are read as pages."""
    kinds = kinds_of(axes)
    if axes not in ("QYX", "IYX"):  # otherwise three unnamed dimensions, whose axes tifffile can only guess
        return kinds, 0
    first, height, last = shape
    slim = last <= MOST_CHANNELS and SLIM * last <= min(first, height)  # rows, columns, channels
    if (planes != "pages" and last in FEW_PLANES) or slim:
        return "YXC", 0
    if planes == "guess" and first in FEW_PLANES:
        return "CYX", 0
    if planes == "channels" and first <= MOST_CHANNELS:
        return "CYX", 0
    return kinds, first


def _files(series: Any, path: Path) -> tuple[str, ...]:  # noqa: ANN401 - tifffile has no types
    """Return the names of the files of an OME-TIFF with several files; () for one file."""
    names = {page.parent.filehandle.name for page in series.pages if page is not None and hasattr(page, "parent")}
    return tuple(sorted(names)) if names - {path.name} else ()
