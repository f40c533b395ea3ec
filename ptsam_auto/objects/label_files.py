"""Writes label images as OME-TIFF: a stack becomes one file with the axes and the pixel size of its image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ptsam_auto.data.raster import Pages
from ptsam_auto.files import replacing
from ptsam_auto.objects.pixel_size import PixelSize

OME_AXES = "TCZ"  # axes of OME besides rows and columns
LARGEST_OF_16_BIT = 2**16 - 1


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
    stack = stacked(labels)
    axes, sizes = ome_axes(pages, len(labels))
    metadata: dict[str, Any] = {"axes": f"{axes}YX"}
    if pixel_size:
        metadata |= {"PhysicalSizeX": pixel_size.width, "PhysicalSizeY": pixel_size.height}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with replacing(path) as unfinished:
        tifffile.imwrite(
            unfinished,
            stack.reshape(*sizes, *stack.shape[1:]),
            ome=True,
            metadata=metadata,
            compression="zlib",
            photometric="minisblack",
        )


def stacked(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the objects of all pages, N H W, with 16 bits, or 32 where there are more than 65,535 objects."""
    largest = max(int(page.max(initial=0)) for page in labels)
    return np.stack(labels).astype(np.uint16 if largest <= LARGEST_OF_16_BIT else np.uint32)


def ome_axes(pages: Pages, count: int) -> tuple[str, tuple[int, ...]]:
    """Return the axes of the pages, as far as OME knows them; otherwise all pages are one axis, Z."""
    known = all(axis in OME_AXES for axis in pages.axes) and len(set(pages.axes)) == len(pages.axes)
    if known and pages.axes and int(np.prod(pages.sizes)) == count:
        return pages.axes, pages.sizes
    return ("Z", (count,)) if count > 1 else ("", ())
