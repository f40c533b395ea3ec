"""OME-Zarr images (versions 0.4 and 0.5): a folder NAME.zarr whose arrays are levels of one image; the first is read.

The package zarr reads the chunks. Only codecs that decode plain numbers are let through, because one that it knows
unpickles what it reads.
"""

# H W  px, rows and columns;  C  channels

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.raster import unreadable

SAFE_CODECS = frozenset({
    "bytes", "transpose", "crc32c", "sharding_indexed",
    "blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd",
    "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle",
})  # fmt: skip
NUMCODECS = "numcodecs."  # prefix of the names of the same codecs in version 3 of the format


@dataclass(frozen=True)
class OmeZarr:
    """The full-size level of an image.

    Args:
        path: Folder of the image.
        axes: One capital letter per axis, such as "TCZYX".
        array: Its array, of the package zarr.
        scale: Size of a step along each axis, in its unit.
        units: Unit of each axis as in the file ("micrometer"), or "".
    """

    path: Path
    axes: str
    array: Any
    scale: tuple[float, ...]
    units: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, zarr: Any) -> "OmeZarr":  # noqa: ANN401 - a module
        """Open an image.

        Args:
            path: Folder of the image.
            zarr: The package.

        Raises:
            DatasetError: It is of a kind that is not read. Whatever the package raises for a damaged one is passed on.
        """
        group = zarr.open_group(str(path), mode="r")
        about = _about(group)
        if "multiscales" not in about and [name for name, _ in group.groups()] == ["0"]:
            group = group["0"]  # as bioformats2raw writes a file with one image
            about = _about(group)
        if "plate" in about:
            raise unreadable(path, "an OME-Zarr plate; copy the images of its wells, each as NAME.zarr")
        if "multiscales" not in about:
            raise unreadable(path, "holds no OME-Zarr image, or several; save each image as an OME-Zarr of its own")
        image = about["multiscales"][0]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes", "tczyx")]
        first = image["datasets"][0]
        array = group[str(first["path"])]
        if not set(_codecs(array.metadata.to_dict())) <= SAFE_CODECS or array.dtype.kind not in "buif":
            raise unreadable(path, "is stored by a codec that is not read here; save it with Blosc, gzip or zstd")
        if len(axes) != len(array.shape):
            raise unreadable(path, f"names {len(axes)} axes, but its array has {len(array.shape)}")
        scales = [one["scale"] for one in first.get("coordinateTransformations", []) if one.get("type") == "scale"]
        scale = scales[0] if scales else [1.0] * len(axes)
        return cls(
            path,
            "".join(str(axis["name"])[:1].upper() for axis in axes),
            array,
            tuple(map(float, scale)),
            tuple(str(axis.get("unit", "")) for axis in axes),
        )

    def read(self, kinds: str, place: Sequence[int], rows: slice = slice(None)) -> np.ndarray:
        """Return some rows of a page: the other axes, in their order.

        Args:
            kinds: Kind of each axis: P pages, C channels, Y rows, X columns.
            place: Index along each axis of pages.
            rows: The rows.
        """
        index = iter(place)
        taken = {"Y": rows}
        box = tuple(next(index) if kind == "P" else taken.get(kind, slice(None)) for kind in kinds)
        return np.asarray(self.array[box])


def _about(group: Any) -> Mapping[str, Any]:  # noqa: ANN401 - zarr's
    """Return the metadata of OME; version 0.5 has them in a part of their own."""
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)


def _codecs(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names of all codecs of an array, with those inside of shards."""
    found = [metadata.get("compressor"), *(metadata.get("filters") or ()), *(metadata.get("codecs") or ())]
    names = []
    for codec in found:
        if codec is not None:
            about = codec if isinstance(codec, Mapping) else codec.to_dict()
            names.append(str(about.get("name", about.get("id", ""))).removeprefix(NUMCODECS))
            settings = about.get("configuration") or {}
            if isinstance(settings, Mapping):
                names += _codecs(settings)
                names += _codecs({"codecs": settings.get("index_codecs")})
    return names
