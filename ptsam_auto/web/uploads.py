"""Reads images and masks that a request brings. They come from anybody: names and sizes are checked first."""

# H W  rows and columns, px

import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import numpy as np

from ptsam_auto.data.formats.run_lengths import counts_of, toggles_of
from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.images import read_mask
from ptsam_auto.data.names import stem
from ptsam_auto.data.raster import named_as_image, size_of_file
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.records import RecordError, from_json

NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')
LONGEST_NAME = 120  # characters
NAMELESS = "image"
MOST_CHANNELS = 8  # of an image with the largest number of pixels


@dataclass(frozen=True)
class Uploaded:
    """One page of an image that was uploaded.

    Args:
        name: Name of its results: that of the file without its ending, with _p000 and so on for a page of a stack.
        path: The file, in a temporary folder.
        files: The file, as it is read.
        pages: Number of pages of the file.
        page: Number of this page, counted from 0.
        pixels: Image, H W 3, uint8, RGB.
    """

    name: str
    path: Path
    files: ImageFiles
    pages: int
    page: int
    pixels: np.ndarray


def safe_name(given: str | None) -> str:
    """Return the name of a file that a request gives, so that it is one file in one folder on every system.

    Folders in the name are dropped, and so are characters that cannot be in a file name, and dots at its start.
    """
    name = PureWindowsPath(PurePosixPath(unicodedata.normalize("NFC", given or "")).name).name
    name = NOT_IN_NAMES.sub("_", name).strip().lstrip(".")
    suffix = "".join(Path(name).suffixes[-2:]) if name.lower().endswith((".nii.gz", ".ome.tif")) else Path(name).suffix
    return f"{name[: len(name) - len(suffix)][:LONGEST_NAME] or NAMELESS}{suffix}"


@contextmanager
def uploaded(
    content: BinaryIO, given_name: str | None, page: int, reading: ImageReading, most_pixels: int
) -> Iterator[Uploaded]:
    """Yield one page of an image; its file exists inside the `with` block only.

    Args:
        content: The file, open for reading at its start.
        given_name: Name of the file; its ending says whether it is a file of a microscope.
        page: Number of the page, counted from 0.
        reading: Rule by which channels are selected and scaled.
        most_pixels: Largest number of pixels of a page.

    Raises:
        DatasetError: The file cannot be decoded, is too large, or has no such page. The message names the file alone.
    """
    name = safe_name(given_name)
    with tempfile.TemporaryDirectory(prefix="ptsam-auto-") as folder:
        path = temporary = Path(folder) / name
        with temporary.open("wb") as copy:
            shutil.copyfileobj(content, copy)
        if path.suffix and not named_as_image(path):
            path = path.rename(path.with_suffix(""))  # The content decides, as it does for every name of a picture.
        files = ImageFiles((path,)).known_to(reading)
        pages = files.pages()
        if set(pages.files) - {path.name}:
            raise _problem(name, "one of several files of an OME-TIFF; save the image as one file")
        check_pixels(path, name, most_pixels)
        if not 0 <= page < pages.count:
            raise _problem(name, f"has {pages.count} pages; page {page} is asked for, and the first is page 0")
        pixels = files.read(page, reading)
        if pixels.shape[0] * pixels.shape[1] > most_pixels:
            raise _too_many(name, pixels.shape[0], pixels.shape[1], most_pixels)
        own = stem(Path(name))
        yield Uploaded(own if pages.count == 1 else f"{own}_p{page:03d}", path, files, pages.count, page, pixels)


def check_pixels(path: Path, name: str, most_pixels: int) -> None:
    """Check the size of an image from its header, before it is decoded; raises DatasetError."""
    height, width, channels = size_of_file(path)
    if height * width > most_pixels:
        raise _too_many(name, height, width, most_pixels)
    if height * width * channels > MOST_CHANNELS * most_pixels:
        raise _problem(name, f"{width} x {height} px with {channels} channels, which is too large for this server")


def mask_from(content: bytes, most_pixels: int) -> np.ndarray:
    """Return a mask that a request brings, H W, bool.

    Args:
        content: An image file with two values, such as a PNG of 0 and 255; or COCO's run lengths as JSON, with the
            fields size (height and width) and counts (a list, or COCO's compressed text).
        most_pixels: Largest number of pixels.

    Raises:
        DatasetError: It is neither, or too large.
    """
    if content.lstrip()[:1] == b"{":
        return mask_of_runs(content, most_pixels)
    with tempfile.TemporaryDirectory(prefix="ptsam-auto-") as folder:
        path = Path(folder) / "mask"
        path.write_bytes(content)
        check_pixels(path, "mask", most_pixels)
        return read_mask(path)


def mask_of_runs(content: bytes, most_pixels: int) -> np.ndarray:
    """Return the mask of COCO's run lengths as JSON, H W, bool.

    Raises:
        DatasetError: It is not such JSON, or the mask is too large.
    """
    try:
        runs = from_json(_Runs, content)
        height, width = runs.size
        if min(runs.size) < 1:
            raise ValueError(f"its size is {height} x {width}")
        if height * width > most_pixels:
            raise _too_many("mask", height, width, most_pixels)
        counts = counts_of(runs.counts, height * width)
    except RecordError as error:
        what = f'is not COCO\'s run lengths, {{"size": [height, width], "counts": [...]}}: {error}'
        raise _problem("mask", what) from None
    except ValueError as error:
        raise _problem("mask", f"is not COCO's run lengths: {error}") from None
    ends = toggles_of(counts)
    flat = np.zeros(height * width + 1, np.int8)
    np.add.at(flat, ends[0::2], 1)
    np.add.at(flat, ends[1::2], -1)
    return np.cumsum(flat[:-1]).astype(bool).reshape(width, height).T.copy()


def runs_of_mask(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's run lengths of a mask (H W, bool), not compressed: columns from left to right, background first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0] if flat[0] else [], changes, [flat.size]])
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).astype(int).tolist()}


@dataclass(frozen=True)
class _Runs:
    size: tuple[int, int]
    counts: list[int] | str


def _too_many(name: str, height: int, width: int, most_pixels: int) -> DatasetError:
    what = f"{width} x {height} px; this server takes at most {most_pixels / 1e6:g} million pixels"
    return _problem(name, what)


def _problem(name: str, what: str) -> DatasetError:
    return DatasetError(None, [Problem(name, what)], "Send another file.")
