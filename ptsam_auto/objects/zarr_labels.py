"""Writes label images as OME-Zarr (version 0.4), with smaller levels, for viewers that open large images by parts."""

# L levels of the pyramid

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.raster import Pages
from ptsam_auto.files import disk_errors, sync_folder, unfinished_name
from ptsam_auto.objects.label_files import ome_axes, stacked
from ptsam_auto.objects.pixel_size import PixelSize

SMALLEST_LEVEL, CHUNK = 512, 512  # px
KINDS = {"t": "time", "c": "channel"}  # of axes; the others are in space


def write_zarr_labels(path: Path, labels: Sequence[np.ndarray], pages: Pages, pixel_size: PixelSize | None) -> None:
    """Write the objects of all pages of an image as a folder, which appears when it is complete.

    Each level has every other row and column of the level before, so that no numbers are mixed.

    Args:
        path: The folder, NAME.zarr; one that is there is replaced.
        labels: Objects of each page, each H W, int32.
        pages: Pages of the image, see `data.raster.Pages`.
        pixel_size: Size of a pixel, or None.

    Raises:
        OutputError: The disk is full or does not work.
        OSError: The folder cannot be written to.
    """
    import zarr

    axes, sizes = ome_axes(pages, len(labels))
    stack = stacked(labels)
    array = stack.reshape(*sizes, *stack.shape[1:])
    names = [*axes.lower(), "y", "x"]
    unfinished = path.with_name(unfinished_name(path))
    with disk_errors(path):
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            group = zarr.create_group(str(unfinished), zarr_format=2)
            datasets: list[dict[str, Any]] = []
            level = array
            while True:
                name = str(len(datasets))
                chunks = (*[1] * len(sizes), *(min(CHUNK, side) for side in level.shape[-2:]))
                stored = group.create_array(name, shape=level.shape, chunks=chunks, dtype=level.dtype)
                stored[...] = level
                datasets.append({"path": name, "coordinateTransformations": [_scale(names, pixel_size, len(datasets))]})
                if max(level.shape[-2:]) <= SMALLEST_LEVEL:
                    break
                level = level[..., ::2, ::2]
            group.attrs["multiscales"] = [
                {
                    "version": "0.4",
                    "name": path.name.removesuffix(".ome.zarr"),
                    "axes": [_axis(name, pixel_size) for name in names],
                    "datasets": datasets,
                }
            ]
            group.attrs["image-label"] = {"version": "0.4"}
            if path.exists():
                shutil.rmtree(path)
            unfinished.rename(path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _axis(name: str, pixel_size: PixelSize | None) -> dict[str, str]:
    axis = {"name": name, "type": KINDS.get(name, "space")}
    return axis | {"unit": "micrometer"} if pixel_size and name in "yx" else axis


def _scale(names: Sequence[str], pixel_size: PixelSize | None, level: int) -> dict[str, Any]:
    """Return the transformation from the pixels of a level to what the axes mean."""
    sides = {"y": pixel_size.height, "x": pixel_size.width} if pixel_size else {"y": 1.0, "x": 1.0}
    return {"type": "scale", "scale": [sides[name] * 2**level if name in sides else 1.0 for name in names]}
