"""Reads large images by regions, so that they need not fit into memory: TIFF files with tiles or strips, OME-Zarr.

A region has the pixels that `images.read_image` gives. What cannot be read by regions is read whole.
"""

# H W  rows and columns of an image, px;  h w  those of a region, px;  C  stored channels

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.images import planes_for
from ptsam_auto.data.raster import (
    FORMATS,
    TIFF_STARTS,
    Planes,
    Raster,
    UnfitError,
    decode,
    failures_as_problems,
    is_volume,
    unreadable,
)
from ptsam_auto.data.reading import Ends, ImageReading, RangeOfRegions, seen
from ptsam_auto.data.tiff import Stack

ROWS_AT_ONCE = 512  # while the values of a whole image are counted
TALLEST_STRIP = 4096  # rows; with taller strips most of what is decoded would be thrown away
JPEG = (6, 7, 33007, 34892)  # compressions whose tables are kept apart from the segments
CONTIGUOUS = 1  # samples of a pixel side by side

Box = tuple[slice, slice]


class Regions:
    """One page of an open file, which behaves like its pixels, H W 3, uint8, RGB.

    Args:
        path: The file, for messages.
        size: Height and width of the page, px.
        stored: Returns the stored values of some rows.
        reading: Rule by which channels are selected and scaled.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], stored: Callable[[slice], Raster], reading: ImageReading
    ) -> None:
        self._path, self._stored, self._reading = path, stored, reading
        self.shape = (*size, 3)
        self._ends: Ends | None = None
        self._rows, self._band = slice(0, 0), np.empty((0, 0, 3), np.uint8)

    def prepare(self) -> bool:
        """Find the range of the whole image where it is scaled by that; return whether regions can be read then.

        Raises:
            DatasetError: The specialist does not fit the channels.
        """
        height, of_all = self.shape[0], RangeOfRegions(self._reading)
        try:
            first = self._raster(slice(0, 1))
            if first.orientation != 1:
                return False
            if not of_all.is_needed(first):
                return True
            if not of_all.can_count(first):
                return False
            for start in range(0, height, ROWS_AT_ONCE):
                of_all.add(self._raster(slice(start, min(start + ROWS_AT_ONCE, height))))
            self._ends = of_all.ends()
        except UnfitError as error:
            raise unreadable(self._path, str(error)) from None
        return True

    def __getitem__(self, box: Box) -> np.ndarray:
        """Return a region, h w 3, uint8. Regions of the same rows are decoded together."""
        rows, columns = box
        if (self._rows.start, self._rows.stop) != (rows.start, rows.stop):
            try:
                self._band = seen(self._raster(rows), self._reading, self._ends).pixels
            except UnfitError as error:
                raise unreadable(self._path, str(error)) from None
            self._rows = rows
        return self._band[:, columns]

    def _raster(self, rows: slice) -> Raster:
        with failures_as_problems(self._path):
            return self._stored(rows)


@contextmanager
def opened(image: ImageFiles, page: int, reading: ImageReading) -> Iterator[Regions | np.ndarray]:
    """Open a page for reading by regions; what cannot be read so is read whole, as an array.

    Args:
        image: Files of the image.
        page: Number of the page, from 0.
        reading: Rule by which channels are selected and scaled.

    Raises:
        DatasetError: A file cannot be opened or decoded.
    """
    path = image.files[0]
    with ExitStack() as files:
        if len(image.files) == 1:
            with failures_as_problems(path):
                found = _by_rows(path, image.planes or planes_for(path, reading), page, files)
            if found is not None and (regions := Regions(path, *found, reading)).prepare():
                yield regions
                return
        yield image.read(page, reading)


@contextmanager
def opened_values(image: ImageFiles, page: int) -> Iterator[Callable[[slice], np.ndarray]]:
    """Open a page for reading its stored values: yields a function from some rows to their values, h W C.

    What cannot be read by rows is read whole.

    Raises:
        DatasetError: A file cannot be opened or decoded.
    """
    with ExitStack() as files:
        yield partial(_values, [_values_of(file, image.planes or "guess", page, files) for file in image.files])


def _values(parts: Sequence[Callable[[slice], np.ndarray]], rows: slice) -> np.ndarray:
    return np.concatenate([part(rows) for part in parts], axis=-1)


def _values_of(path: Path, planes: Planes, page: int, files: ExitStack) -> Callable[[slice], np.ndarray]:
    """Return the function from some rows of a file to their stored values, h W C."""
    with failures_as_problems(path):
        found = _by_rows(path, planes, page, files)
        if found is None or found[1](slice(0, 1)).orientation != 1:
            whole = decode(path, page, planes=planes).seen()
            return lambda rows: whole[rows]
    _, stored = found

    def values(rows: slice) -> np.ndarray:
        with failures_as_problems(path):
            return stored(rows).seen()

    return values


def _by_rows(
    path: Path, planes: Planes, page: int, files: ExitStack
) -> tuple[tuple[int, int], Callable[[slice], Raster]] | None:
    """Return the size of a page, and the function from some of its rows to what is stored there.

    Returns:
        None if only the whole page can be read.
    """
    if is_volume(path):
        from ptsam_auto.data.volumes import open_volume

        volume = open_volume(path)
        return (volume.size, partial(volume.raster, page)) if volume.rows else None
    if not _is_tiff(path):
        return None
    stack = Stack.of(files.enter_context(tifffile.TiffFile(path)), planes)
    stored = _rows_of_tiff(stack, page)
    return (stack.size, stored) if stored else None


def _rows_of_tiff(stack: Stack, page: int) -> Callable[[slice], Raster] | None:
    """Return the function from some rows of a page to what is stored there, or None if only the whole can be read."""
    planes = stack.planes_of(page)
    if planes is None or not all(_has_regions(plane) for plane in planes):
        return None

    def stored(rows: slice) -> Raster:
        parts = [_decoded(plane, rows) for plane in planes]
        return stack.interpreted(np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0])

    return stored


def size_of(image: ImageFiles) -> tuple[int, int] | None:
    """Return the height and the width, px, of the pages of an image in one file, from its header.

    Returns:
        None for several files, and for the files that `volumes` reads as a whole.

    Raises:
        DatasetError: The file cannot be opened.
    """
    path = image.files[0]
    if len(image.files) > 1:
        return None
    with failures_as_problems(path):
        if is_volume(path):
            from ptsam_auto.data.volumes import open_volume

            volume = open_volume(path)
            return volume.size if volume.rows else None
        if not _is_tiff(path):
            with Image.open(path, formats=FORMATS) as picture:
                return picture.height, picture.width
        with tifffile.TiffFile(path) as tiff:
            return Stack.of(tiff, image.planes or "guess").size


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(TIFF_STARTS)


def _has_regions(page: Any) -> bool:  # noqa: ANN401 - tifffile has no types
    """Return whether rows of a page can be read without the others."""
    if page is None or page.keyframe.planarconfig != CONTIGUOUS or page.keyframe.imagedepth != 1:
        return False
    return page.keyframe.is_memmappable or _segment_size(page.keyframe)[0] <= TALLEST_STRIP


def _segment_size(keyframe: Any) -> tuple[int, int]:  # noqa: ANN401 - tifffile has no types
    """Return the height and the width of the tiles or strips, px."""
    if keyframe.is_tiled:
        return keyframe.tilelength, keyframe.tilewidth
    return min(keyframe.rowsperstrip, keyframe.imagelength), keyframe.imagewidth


def _decoded(page: Any, rows: slice) -> np.ndarray:  # noqa: ANN401 - tifffile has no types
    """Return some rows of a page as they are stored, h W C."""
    keyframe, file = page.keyframe, page.parent.filehandle
    width, samples = keyframe.imagewidth, keyframe.samplesperpixel
    result = np.full((rows.stop - rows.start, width, samples), keyframe.nodata, keyframe.dtype)
    if keyframe.is_memmappable and not keyframe.is_tiled:
        stored = np.dtype(page.parent.byteorder + keyframe.dtype.char)
        file.seek(page.dataoffsets[0] + rows.start * width * samples * stored.itemsize)
        result[:] = file.read_array(stored, result.size).reshape(result.shape)
        return result
    tall, wide = _segment_size(keyframe)
    across = -(-width // wide)
    indices = range(rows.start // tall * across, (-(-rows.stop // tall)) * across)
    tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader} if keyframe.compression in JPEG else {}
    offsets, counts = ([entries[index] for index in indices] for entries in (page.dataoffsets, page.databytecounts))
    for data, index in file.read_segments(offsets, counts, indices=indices):
        segment, (_, _, top, left, _), shape = keyframe.decode(data, index, _fullsize=keyframe.is_tiled, **tables)
        if segment is None:
            continue
        segment = segment[0, : shape[1], : width - left]
        first, last = max(top, rows.start), min(top + segment.shape[0], rows.stop)
        result[first - rows.start : last - rows.start, left : left + wide] = segment[first - top : last - top]
    return result
