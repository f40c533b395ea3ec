"""Reads raster files: their stored values, the number of pages, and the file's own information about its values.

Only this module opens them. The format is recognised by content, because TIFF files with the suffix .png are common,
and text files with the suffix .png exist. The file's own information about its values is applied here: palette,
white-is-zero, CMYK, orientation. The modules images.py and mask_values.py interpret the values.
"""

# H W  rows and columns, px;  C  channels, without alpha

import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from ptsam_auto.errors import DatasetError, Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2")
SUFFIXES_IN_WORDS = "png, jpg, bmp, tif, webp, gif or jp2"
ZARR_SUFFIX = ".zarr"  # of a folder that is an image
VOLUME_SUFFIXES = (".czi", ".nd2", ".lif", ".dcm", ".nii", ".nii.gz", ZARR_SUFFIX)  # read by volumes.py
SLIDE_SUFFIXES = (".svs",)  # a TIFF with levels
EXPECTED = "the content of a PNG, JPEG, BMP or TIFF file"
SPECIALIST, SOURCE = "ptsam-auto specialist", "ptsam-auto source"  # text chunks of the PNG masks that predict writes
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Pillow opens only these; it would also start Ghostscript for an EPS that is called .png.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "JPEG2000")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "JPEG2000")
MOVING_FORMATS = ("GIF", "WEBP", "PNG")  # formats whose frames are pages; the other frames of an MPO are previews
HEADER_BYTES = 512
MOST_PIXELS = 12_000**2  # of one page of a slide, a mosaic or a volume
DICOM_MARK, DICOM_AT = b"DICM", 128
ORIENTATION = 0x0112
# tifffile only logs that a stack is longer than its file. Its other messages (an unusual private tag) are harmless.
CUT_BETWEEN_PAGES = re.compile("page offset|offset to page|tag list of page|corrupted file")

Planes = Literal["guess", "channels", "pages"]
"""Rule for the unnamed planes of a TIFF: 2 to 4 are channels and more are pages; always channels; always pages."""


class UnfitError(ValueError):
    """The values are not those of an image or a mask. The caller adds the name of the file to the message."""


@dataclass(frozen=True)
class Raster:
    """One page of a raster file, upright.

    Args:
        values: H W C, any integer, bool or float type; black is the smallest value. With a palette: palette indices.
        palette: Colours of the indices, N 3, uint8, or None.
        alpha: Alpha channel, H W, of the file's own type, or None.
        lossy: True if the compression smears edges, so that there are unintended values.
        colours: True if the channels are red, green and blue.
        orientation: EXIF number of the orientation that was applied; 1 for none.
        ours: True for a mask that ptsam-auto predicted.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    lossy: bool = False
    colours: bool = False
    orientation: int = 1
    ours: bool = False

    def seen(self) -> np.ndarray:
        """Return the values, H W C; with a palette they are converted to colours."""
        return self.values if self.palette is None else self.palette[self.values[..., 0]]

    def upright(self) -> "Raster":
        """Return the raster with its orientation applied."""
        if self.orientation == 1:
            return self
        alpha = None if self.alpha is None else turned(self.alpha, self.orientation)
        return replace(self, values=turned(self.values, self.orientation), alpha=alpha)


@dataclass(frozen=True)
class Pages:
    """The pages of a file.

    Args:
        axes: One letter per axis of the pages, as in tifffile ("TZ"); "" for a single page.
        sizes: Sizes of these axes.
        unnamed: Number of unnamed planes that are read as pages; 0 for none.
        files: Names of the files that contain the pages of an OME-TIFF with several files.
        directions: Directions of the body along columns, rows and slices, from NIfTI's affine ("RAS"); "" if unknown.
    """

    axes: str = ""
    sizes: tuple[int, ...] = ()
    unnamed: int = 0
    files: tuple[str, ...] = ()
    directions: str = ""

    @property
    def count(self) -> int:
        """Return the number of pages."""
        return int(np.prod(self.sizes, dtype=int))


def decode(path: Path, page: int | None = None, *, planes: Planes = "guess") -> Raster:
    """Read one page of an image or a mask, with the file's orientation applied.

    Args:
        path: PNG, JPEG, BMP, TIFF, WebP, GIF or JPEG 2000, or a file that `volumes` reads.
        page: Number of the page, counted from 0; None if the file must contain exactly one.
        planes: Rule for the unnamed planes of a TIFF.

    Raises:
        DatasetError: The file cannot be opened or decoded, or page is None and there are several pages.
    """
    with failures_as_problems(path):
        if is_volume(path):
            from ptsam_auto.data.volumes import open_volume

            volume = open_volume(path)
            _check_single(path, volume.pages.count, page)
            return volume.raster(page or 0)
        header = _header(path)
        if not header.startswith(TIFF_STARTS):
            return _decode_picture(path, header, page)
        from ptsam_auto.data.tiff import Stack

        with tifffile.TiffFile(path) as tiff:
            stack = Stack.of(tiff, planes)
            _check_single(path, stack.pages.count, page)
            return stack.raster(page or 0).upright()


def pages_of_file(path: Path, *, planes: Planes = "guess") -> Pages:
    """Return the pages of a file, from its header alone.

    Args:
        path: Path of the file, as in `decode`.
        planes: Rule for the unnamed planes of a TIFF.

    Raises:
        DatasetError: The file cannot be opened, or its header is not valid.
    """
    with failures_as_problems(path):
        if is_volume(path):
            from ptsam_auto.data.volumes import open_volume

            return open_volume(path).pages
        if not _header(path).startswith(TIFF_STARTS):
            with Image.open(path, formats=FORMATS) as opened:
                frames = _frames(opened)
            return Pages("T", (frames,)) if frames > 1 else Pages()
        from ptsam_auto.data.tiff import Stack

        with tifffile.TiffFile(path) as tiff:
            return Stack.of(tiff, planes).pages


def count_pages(path: Path, *, planes: Planes = "guess") -> int:
    """Return the number of pages of a file; see `pages_of_file`."""
    return pages_of_file(path, planes=planes).count


def size_of_file(path: Path, *, planes: Planes = "guess") -> tuple[int, int, int]:
    """Return height and width of a page of a file in px, and its channels, from the header alone.

    The orientation is not applied, and alpha counts as a channel.

    Args:
        path: Path of the file, as in `decode`.
        planes: Rule for the unnamed planes of a TIFF.

    Raises:
        DatasetError: The file cannot be opened, or its header is not valid.
    """
    with failures_as_problems(path):
        if is_volume(path):
            from ptsam_auto.data.volumes import open_volume

            volume = open_volume(path)
            return _size(volume.axes.replace("S", "C"), volume.shape)
        if not _header(path).startswith(TIFF_STARTS):
            with Image.open(path, formats=FORMATS) as opened:
                return opened.height, opened.width, len(opened.getbands())
        from ptsam_auto.data.tiff import Stack

        with tifffile.TiffFile(path) as tiff:
            stack = Stack.of(tiff, planes)
            return _size(stack.axes, stack.shape)


def _size(axes: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels from the axes: Y rows, X columns, C channels."""
    channels = math.prod(size for axis, size in zip(axes, shape, strict=True) if axis == "C")
    return shape[axes.index("Y")], shape[axes.index("X")], channels


def named_as_image(path: Path) -> bool:
    """Say whether a file's name is that of an image or mask which is read; one without an ending may be DICOM."""
    return path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES)) or is_volume(path)


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder of files, and not an image that is stored as a folder (OME-Zarr)."""
    return path.is_dir() and not path.name.lower().endswith(ZARR_SUFFIX)


def is_volume(path: Path) -> bool:
    """Say whether volumes.py reads a file: by the ending of its name, or by DICOM's mark where it has no ending."""
    if path.suffix:
        return path.name.lower().endswith(VOLUME_SUFFIXES)
    try:
        with path.open("rb") as file:
            return file.read(DICOM_AT + len(DICOM_MARK))[DICOM_AT:] == DICOM_MARK
    except OSError:
        return False


def is_ours(path: Path) -> bool:
    """Return whether a file is a mask that ptsam-auto predicted; False if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return SPECIALIST.encode() in file.read(HEADER_BYTES)
    except OSError:
        return False


def unreadable(path: Path, what: str) -> DatasetError:
    """Return the error for a single file."""
    return DatasetError(path.parent, [Problem(path.name, what)])


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse a slide or a mosaic of tiles that is larger than an image to train on; raises DatasetError.

    Args:
        path: names the file.
        height: px, one page.
        width: px.
    """
    if height * width > MOST_PIXELS:
        what = f"{width} x {height} px, too large to be read as one image; export regions as OME-TIFF or PNG in QuPath"
        raise unreadable(path, what)


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an H W ... array with an EXIF orientation applied, as a view."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(array, 1)
    return array


def unturned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an H W ... array with an EXIF orientation undone, as a view."""
    return turned(array, {6: 8, 8: 6}.get(orientation, orientation))


def _check_single(path: Path, count: int, page: int | None) -> None:
    if page is None and count != 1:
        raise unreadable(path, f"holds {count} pages; expected one")


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if not header:
        raise unreadable(path, "an empty file (0 bytes); copy it again from its source")
    if header.startswith(b"version https://git-lfs"):
        raise unreadable(path, "a Git LFS pointer, not the image itself; run `git lfs pull`")
    if _is_text(header):
        raise unreadable(path, f"holds text; expected {EXPECTED}")
    return header


def _is_text(header: bytes) -> bool:
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        if error.start < HEADER_BYTES - 3:  # a character cut by the header's end is still text
            return False
        text = header[: error.start].decode()
    return all(character.isprintable() or character.isspace() for character in text)


def _frames(opened: Image.Image) -> int:
    return int(getattr(opened, "n_frames", 1)) if opened.format in MOVING_FORMATS else 1


def _decode_picture(path: Path, header: bytes, page: int | None) -> Raster:
    with Image.open(path, formats=FORMATS) as opened:
        _check_single(path, _frames(opened), page)
        if page:
            opened.seek(page)
        raster = from_pillow(opened)
        bit_depth, colour_type = header[24], header[25]
        if opened.format == "PNG" and bit_depth == 16 and colour_type != 0:
            # Pillow would keep only the upper byte of 16-bit colours: black for 12-bit cameras.
            values = imagecodecs.png_decode(path.read_bytes())
            alpha = values[..., -1] if values.shape[-1] in (2, 4) else None
            values = values[..., :1] if values.shape[-1] == 2 else values[..., :3]
            raster = replace(raster, values=values, alpha=alpha, colours=values.shape[-1] == 3)
        return raster.upright()


def from_pillow(opened: Image.Image) -> Raster:
    """Return the values of a PIL image, without applying its orientation."""
    opened.load()
    about = Raster(
        np.empty(0),
        lossy=opened.format in LOSSY_FORMATS,
        orientation=int(opened.getexif().get(ORIENTATION, 1)),
        ours=SPECIALIST in opened.info,
    )
    if opened.mode == "P":
        colours = np.asarray(opened.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)] = colours
        return replace(about, values=np.asarray(opened)[..., None], palette=palette)
    alpha = np.asarray(opened.getchannel("A")) if opened.mode in ("LA", "PA", "RGBA") else None
    picture = opened.getchannel(0) if opened.mode in ("LA", "La") else opened
    if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
        return replace(about, values=np.asarray(picture)[..., None], alpha=alpha)
    # convert() would blend transparent pixels with black
    values = np.asarray(picture)[..., :3] if picture.mode == "RGBA" else np.asarray(picture.convert("RGB"))
    return replace(about, values=values, alpha=alpha, colours=True)


@contextmanager
def failures_as_problems(path: Path) -> Iterator[None]:
    """Convert the exceptions, warnings and log messages of decoders to one DatasetError; threads may do so at once."""
    log = _Kept()
    logger = tifffile.logger()
    logger.addFilter(log)
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
        raise unreadable(path, f"not an image; expected {EXPECTED}") from error
    except Image.DecompressionBombError as error:
        raise unreadable(path, "has more pixels than can be handled; cut it into tiles") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, f"cannot be opened: {error.strerror}") from error
        raise unreadable(path, "damaged, cut short or of an unusual kind; export it again as PNG or TIFF") from error
    finally:
        logger.removeFilter(log)


class _Kept(logging.Filter):
    """Keeps the errors that this thread logs, and lets none of its messages through."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())
        return False
