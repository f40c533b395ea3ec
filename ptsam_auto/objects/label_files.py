"""Writes label images as OME-TIFF: a stack becomes one file with the axes and the pixel size of its image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ptsam_auto.bands import BIG_TIFF, TILE, tiles
from ptsam_auto.data.raster import Pages
from ptsam_auto.files import replacing
from ptsam_auto.objects.pixel_size import PixelSize

OME_AXES = "TCZ"  # axes of OME besides rows and columns
LARGEST_OF_16_BIT = 2**16 - 1
MICROMETRES = 10_000  # of a centimetre
LARGE_TYPE = np.uint32  # of a large image, whose number of objects is not known when its file begins


def write_labels(path: Path, labels: Sequence[np.ndarray], pages: Pages, pixel_size: PixelSize | None) -> None:
    """Write the objects of all pages of an image, atomically.

    The numbers have 16 bits, or 32 where there are more than 65,535 objects. Each page counts from 1.

    Args:
        path: The file.
        labels: Objects of each page, each H W, int32.
        pages: Pages of the image, see `data.raster.Pages`.
        pixel_size: Size of a pixel, or None.

    Raises:
        OSError: The file cannot be written.
    """
    axes, sizes = ome_axes(pages, len(labels))
    stack = np.stack(labels).astype(smallest_type(labels))
    with replacing(path) as unfinished:
        tifffile.imwrite(unfinished, stack.reshape(*sizes, *stack.shape[1:]), **_options(axes, pixel_size))


def write_label_rows(
    path: Path,
    pages_of_rows: Iterable[Iterable[np.ndarray]],
    size: tuple[int, int],
    pages: Pages,
    count: int,
    pixel_size: PixelSize | None,
) -> None:
    """Write the objects of all pages of a large image by rows, with tiles and 32 bits, atomically.

    Args:
        path: The file.
        pages_of_rows: For each page the objects of its rows from top to bottom, each h W.
        size: Height and width of a page, px.
        pages: Pages of the image, see `data.raster.Pages`.
        count: Number of pages.
        pixel_size: Size of a pixel, or None.

    Raises:
        OSError: The file cannot be written.
    """
    axes, sizes = ome_axes(pages, count)
    bytes_of_all = np.dtype(LARGE_TYPE).itemsize * count * size[0] * size[1]
    with replacing(path) as unfinished:
        tifffile.imwrite(
            unfinished,
            (tile.astype(LARGE_TYPE) for rows in pages_of_rows for tile in tiles(rows)),
            shape=(*sizes, *size),
            dtype=LARGE_TYPE,
            tile=(TILE, TILE),
            bigtiff=bytes_of_all > BIG_TIFF,
            **_options(axes, pixel_size),
        )


def smallest_type(labels: Sequence[np.ndarray]) -> type[np.unsignedinteger[Any]]:
    """Return the type of the numbers in a file: 16 bits, or 32 where a page has more than 65,535 objects."""
    return np.uint16 if max(int(page.max(initial=0)) for page in labels) <= LARGEST_OF_16_BIT else np.uint32


def _options(axes: str, pixel_size: PixelSize | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": f"{axes}YX"}
    if pixel_size:
        metadata |= {"PhysicalSizeX": pixel_size.width, "PhysicalSizeY": pixel_size.height}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    options = {"ome": True, "metadata": metadata, "compression": "zlib", "photometric": "minisblack"}
    if pixel_size:  # as ImageJ reads it, which does not know OME without a plug-in
        per_centimetre = (MICROMETRES / pixel_size.width, MICROMETRES / pixel_size.height)
        options |= {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
    return options


def ome_axes(pages: Pages, count: int) -> tuple[str, tuple[int, ...]]:
    """Return the axes of the pages, as far as OME knows them; otherwise all pages are one axis, Z."""
    known = all(axis in OME_AXES for axis in pages.axes) and len(set(pages.axes)) == len(pages.axes)
    if known and pages.axes and int(np.prod(pages.sizes)) == count:
        return pages.axes, pages.sizes
    return ("Z", (count,)) if count > 1 else ("", ())
