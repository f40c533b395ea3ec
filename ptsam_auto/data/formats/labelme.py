"""labelme: one JSON file per image, with polygons, circles and small masks."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptsam_auto.data.formats.annotation_files import files_of_kind, has_kind, load_json, size_of
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import BOX, LINE, Annotated, Outline, outlined
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Patch, Region, ellipse, finite, points_of, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions

NAME = "labelme"
SKETCH = "NAME.json of labelme beside NAME.png"


def detect(folder: Path) -> bool:
    """Return whether a JSON file was written by labelme."""
    return has_kind(folder, NAME, ".json")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read one JSON file per image; images without one are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, NAME, "shape", options)
    for source in files_of_kind(folder, NAME, ".json"):
        content = collection.load(source, load_json)
        if content is None:
            continue
        stated = content["imagePath"]
        named = isinstance(stated, str) and collection.index.find(stated, source.parent)
        file = collection.locate(source, stated) if named else collection.locate_own(source, source.stem)
        if file is not None:
            outlines = tuple(_outline(number, shape) for number, shape in enumerate(content["shapes"], start=1))
            size = size_of(content, "imageHeight", "imageWidth")
            collection.add(Annotated(source, "", file, size, outlines))
    return collection.listing()


def _outline(number: int, shape: Any) -> Outline:  # noqa: ANN401 - JSON
    if not isinstance(shape, dict):
        return outlined(str(number), "", lambda: _region({}))
    return outlined(str(number), shape.get("label"), lambda: _region(shape))


def _region(shape: dict[str, Any]) -> Region | None:
    kind = shape.get("shape_type", "polygon")
    points = points_of(shape["points"])
    if kind == "polygon":
        return polygon([shape["points"]])
    if kind == "rectangle":
        raise ValueError(BOX)
    if kind in ("point", "points", "line", "linestrip"):
        raise ValueError(LINE)
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points[0], points[1]
        radius = finite(float(np.hypot(edge[0] - x, edge[1] - y)))
        return ellipse(x, y, radius, radius)
    if kind == "mask" and len(points) == 2:
        left, top = (int(value) for value in np.clip(points[0], -(2**31), 2**31))
        return Patch(_small_mask(shape.get("mask")), top, left)
    raise ValueError(f"the shape {str(kind)[:20]!r} is not known")


def _small_mask(written: Any) -> np.ndarray:  # noqa: ANN401 - JSON
    """Return the mask, H W, bool, from a PNG in base64; raises ValueError if it is damaged."""
    if not isinstance(written, str):
        raise ValueError("its mask is no text")
    try:
        with Image.open(io.BytesIO(base64.b64decode(written)), formats=["PNG"]) as opened:
            mask = np.asarray(opened.convert("L")) > 0
    except (OSError, SyntaxError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError("its mask is damaged") from error
    return mask
