"""Writes label images as OME-Zarr (version 0.4), with smaller levels, for viewers that open large images by parts."""

# L levels of the pyramid

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.bands import in_steps
from ptsam_auto.data.raster import Pages
from ptsam_auto.objects.label_files import ome_axes
from ptsam_auto.objects.pixel_size import PixelSize

SMALLEST_LEVEL, CHUNK = 512, 512  # px
KINDS = {"t": "time", "c": "channel"}  # of axes; the others are in space


class ZarrLabels:
    """The objects of all pages of an image as a folder NAME.zarr, which is written by rows.

    Each level has every other row and column of the level before, so that no numbers are mixed.

    Args:
        folder: Folder that does not exist yet.
        name: Name of the image.
        size: Height and width of a page, px.
        pages: Pages of the image, see `data.raster.Pages`.
        count: Number of pages.
        pixel_size: Size of a pixel, or None.
        dtype: Type of the numbers.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        size: tuple[int, int],
        pages: Pages,
        count: int,
        pixel_size: PixelSize | None,
        dtype: type[np.unsignedinteger[Any]],
    ) -> None:
        import zarr

        axes, self._sizes = ome_axes(pages, count)
        names = [*axes.lower(), "y", "x"]
        group = zarr.create_group(str(folder), zarr_format=2)
        datasets: list[dict[str, Any]] = []
        self._levels: list[Any] = []
        height, width = size
        while True:
            chunks = (*[1] * len(self._sizes), min(CHUNK, height), min(CHUNK, width))
            path = str(len(datasets))
            self._levels.append(
                group.create_array(path, shape=(*self._sizes, height, width), chunks=chunks, dtype=dtype)
            )
            datasets.append({"path": path, "coordinateTransformations": [_scale(names, pixel_size, len(datasets))]})
            if max(height, width) <= SMALLEST_LEVEL:
                break
            height, width = -(-height // 2), -(-width // 2)
        group.attrs["multiscales"] = [
            {
                "version": "0.4",
                "name": name,
                "axes": [_axis(name, pixel_size) for name in names],
                "datasets": datasets,
            }
        ]
        group.attrs["image-label"] = {"version": "0.4"}

    def add(self, page: int, bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Write the objects of a page, each band h W, and yield them again."""
        place = tuple(int(index) for index in np.unravel_index(page, self._sizes)) if self._sizes else ()
        top = 0
        for band in in_steps(bands, CHUNK):
            for number, level in enumerate(self._levels):
                step = 2**number
                first = -top % step
                part = band[first::step, ::step]
                if len(part):
                    start = (top + first) // step
                    level[(*place, slice(start, start + len(part)), slice(None))] = part
            top += len(band)
            yield band


def _axis(name: str, pixel_size: PixelSize | None) -> dict[str, str]:
    axis = {"name": name, "type": KINDS.get(name, "space")}
    return axis | {"unit": "micrometer"} if pixel_size and name in "yx" else axis


def _scale(names: Sequence[str], pixel_size: PixelSize | None, level: int) -> dict[str, Any]:
    """Return the transformation from the pixels of a level to what the axes mean."""
    sides = {"y": pixel_size.height, "x": pixel_size.width} if pixel_size else {"y": 1.0, "x": 1.0}
    return {"type": "scale", "scale": [sides[name] * 2**level if name in sides else 1.0 for name in names]}
