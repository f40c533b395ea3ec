"""Raster files as they are stored: which bytes they hold, how many pages, which axis is which.

Files are told apart by content, since a TIFF called .png is common and a text file called .png happens.
What the values mean, as an image or as a mask, is the business of images.py.
"""

# H W  px, rows and columns;  C  channels, colours only: alpha is dropped here

import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from ptsam_auto.errors import DatasetError, Problem

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP")
JPEG_IN_TIFF = (6, 7)
ALPHA_SAMPLES = (1, 2)
FEW_PLANES = (2, 3, 4)
HEADER_BYTES = 512
# tifffile only logs that a stack goes on beyond the file's end. Its other complaints (an odd private tag) are harmless.
CUT_BETWEEN_PAGES = re.compile("page offset|offset to page|tag list of page|corrupted file")


@dataclass(frozen=True)
class Raster:
    """One page of a raster file.

    Args:
        values: H W C, as stored (any integer or float type); palette indices where there is a palette.
        palette: 256 3, uint8, or None.
        lossy: the compression smears edges, so that small values are not meant.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    lossy: bool = False


def decode(path: Path, page: int | None = None, *, planes_are_channels: bool = True) -> Raster:
    """Read one page.

    JPEG, PNG and BMP are turned as their EXIF orientation says, images and masks alike; TIFF is taken as it lies.

    Args:
        path: PNG, JPEG, BMP or TIFF.
        page: counted from 0; None where the file must hold exactly one.
        planes_are_channels: how to read a TIFF of 2 to 4 planes that does not say what they are.

    Raises:
        DatasetError: the file cannot be opened or decoded, or page is None and there are several.
    """
    with _failures_as_problems(path):
        header = _header(path)
        if not header.startswith(TIFF_STARTS):
            return _decode_picture(path, header)
        with tifffile.TiffFile(path) as tiff:
            stack = _Stack.of(tiff, planes_are_channels)
            if page is None and stack.pages != 1:
                raise unreadable(path, f"holds {stack.pages} pages; expected one")
            return stack.raster(page or 0)


def count_pages(path: Path, *, planes_are_channels: bool = True) -> int:
    """Return how many pages the file holds, from its header alone; 1 for everything but TIFF.

    Args:
        path: PNG, JPEG, BMP or TIFF.
        planes_are_channels: as for `decode`.

    Raises:
        DatasetError: the file cannot be opened, or its header makes no sense.
    """
    with _failures_as_problems(path):
        if not _header(path).startswith(TIFF_STARTS):
            return 1
        with tifffile.TiffFile(path) as tiff:
            return _Stack.of(tiff, planes_are_channels).pages


def unreadable(path: Path, what: str) -> DatasetError:
    """Return the error for a single file."""
    return DatasetError(path.parent, [Problem(path.name, what)])


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if not header:
        raise unreadable(path, "an empty file (0 bytes); copy it again from its source")
    if header.startswith(b"version https://git-lfs"):
        raise unreadable(path, "a Git LFS pointer, not the image itself; run `git lfs pull`")
    if _is_text(header):
        raise unreadable(path, "holds text; expected the content of a PNG, JPEG, BMP or TIFF file")
    return header


def _is_text(header: bytes) -> bool:
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        if error.start < HEADER_BYTES - 3:  # a character cut by the header's end is still text
            return False
        text = header[: error.start].decode()
    return all(character.isprintable() or character.isspace() for character in text)


def _decode_picture(path: Path, header: bytes) -> Raster:
    with Image.open(path) as opened:
        lossy = opened.format in LOSSY_FORMATS
        bit_depth, colour_type = header[24], header[25]
        if opened.format == "PNG" and bit_depth == 16 and colour_type != 0:
            # Pillow would keep only the upper byte of 16-bit colours: black for 12-bit cameras.
            values = imagecodecs.png_decode(path.read_bytes())
            return Raster(values[..., :1] if values.shape[-1] == 2 else values[..., :3])
        picture = ImageOps.exif_transpose(opened)
        if picture.mode == "P":
            colours = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(colours)] = colours
            return Raster(np.asarray(picture)[..., None], palette)
        if picture.mode in ("LA", "La"):
            picture = picture.getchannel(0)
        if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
            return Raster(np.asarray(picture)[..., None], lossy=lossy)
        return Raster(np.asarray(picture.convert("RGB")), lossy=lossy)


@dataclass(frozen=True)
class _Stack:
    """A TIFF's main series, with each axis known as page, row, column or channel."""

    series: Any  # tifffile.TiffPageSeries, which has no types
    axes: str  # "P" page, "Y", "X", "C" channel; one letter a dimension
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tiff: Any, planes_are_channels: bool) -> "_Stack":  # noqa: ANN401 - tifffile has no types
        mains = [series for series in tiff.series if not series.keyframe.is_reduced]
        if len(mains) != 1:
            raise unreadable(
                Path(tiff.filehandle.path), f"holds {len(mains)} images of different shapes; expected one shape"
            )
        series, shape = mains[0], tuple(mains[0].shape)
        axes = "".join(axis if axis in "YX" else "C" if axis in "CS" else "P" for axis in series.axes)
        if series.axes == "QYX" and planes_are_channels:  # three nameless dimensions: tifffile can only guess
            if shape[-1] in FEW_PLANES:
                axes = "YXC"
            elif shape[0] in FEW_PLANES:
                axes = "CYX"
        if sorted(axes.replace("P", "").replace("C", "")) != ["X", "Y"]:
            raise unreadable(Path(tiff.filehandle.path), f"has the axes {series.axes}; expected rows and columns")
        return cls(series, axes, shape)

    @property
    def pages(self) -> int:
        return self._size("P")

    def raster(self, page: int) -> Raster:
        keyframe = self.series.keyframe
        values = self._plane(page)
        if "S" in self.series.axes:
            alphas = sum(int(sample) in ALPHA_SAMPLES for sample in keyframe.extrasamples)
            values = values[..., : max(1, values.shape[-1] - alphas)]
        palette = None
        if keyframe.colormap is not None and values.shape[-1] == 1 and values.dtype == np.uint8:
            palette = (keyframe.colormap.T >> 8).astype(np.uint8)
        return Raster(values, palette, lossy=int(keyframe.compression) in JPEG_IN_TIFF)

    def _plane(self, page: int) -> np.ndarray:
        inner = self.axes.lstrip("P")
        each, rest = divmod(len(self.series.pages), self.pages)
        if "P" not in inner and rest == 0 and (each == 1 or (inner == "CYX" and each == self._size("C"))):
            key = page if each == 1 else slice(page * each, (page + 1) * each)
            values, axes = self.series.asarray(key=key), inner  # one page, rather than a stack of gigabytes
        else:
            values, axes = self.series.asarray(), self.axes
        shape = self.shape[len(self.axes) - len(axes) :]
        order = sorted(range(len(axes)), key=lambda i: "PYXC".index(axes[i]))
        height, width = (self.shape[self.axes.index(axis)] for axis in "YX")
        stack = values.reshape(shape).transpose(order).reshape(-1, height, width, self._size("C"))
        return stack[page if len(stack) > 1 else 0]

    def _size(self, kind: str) -> int:
        return math.prod(size for axis, size in zip(self.axes, self.shape, strict=True) if axis == kind)


@contextmanager
def _failures_as_problems(path: Path) -> Iterator[None]:
    """Turn whatever a decoder throws, warns or logs into one DatasetError: the world enters here."""
    log = _Kept()
    logger = tifffile.logger()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(log)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        for complaint in log.errors:
            if CUT_BETWEEN_PAGES.search(complaint):
                raise ValueError(complaint)
    except DatasetError:
        raise
    except UnidentifiedImageError as error:
        raise unreadable(path, "not an image; expected the content of a PNG, JPEG, BMP or TIFF file") from error
    except Image.DecompressionBombError as error:
        raise unreadable(path, "has more pixels than can be handled; cut it into tiles") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, f"cannot be opened: {error.strerror}") from error
        raise unreadable(path, "damaged, cut short or of an unusual kind; export it again as PNG or TIFF") from error
    finally:
        logger.removeHandler(log)
        logger.propagate = propagate


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())
