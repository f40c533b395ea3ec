"""CVAT for images 1.1: one XML file with the polygons, ellipses and run lengths of all images."""

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ptsam_auto.data.formats.annotation_files import files_of_kind, has_kind, load_xml
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import BOX, LINE, Annotated, Outline, outlined
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Patch, Region, ellipse, finite, polygon
from ptsam_auto.data.formats.run_lengths import counts_of
from ptsam_auto.data.options import DEFAULT, ReadingOptions

NAME = "cvat"
SKETCH = "annotations.xml (CVAT for images 1.1) and its images (here or in images/)"
LARGEST_MASK = 2**28  # px


def detect(folder: Path) -> bool:
    """Return whether an XML file was written by CVAT."""
    return has_kind(folder, NAME, ".xml")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read the XML files; images that they do not list are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "CVAT", "shape", options)
    for source in files_of_kind(folder, NAME, ".xml"):
        root = collection.load(source, load_xml)
        if root is None:
            continue
        images = root.findall("image")
        if not images:
            collection.problem(source, "lists no image; in CVAT export the task as CVAT for images 1.1, or as COCO 1.0")
        for image in images:
            stated = image.get("name", "")
            file = collection.locate(source, stated)
            if file is not None:
                outlines = tuple(_outline(number, shape) for number, shape in enumerate(_shapes(image), start=1))
                collection.add(Annotated(source, stated, file, _size(image), outlines))
    return collection.listing()


def _shapes(image: Element) -> list[Element]:
    return [element for element in image if element.get("label") is not None and element.tag != "tag"]


def _size(image: Element) -> tuple[int, int] | None:
    try:
        return int(image.get("height", "")), int(image.get("width", ""))
    except ValueError:
        return None


def _outline(number: int, shape: Element) -> Outline:
    return outlined(str(number), shape.get("label"), lambda: _region(shape))


def _region(shape: Element) -> Region | None:
    if shape.tag == "polygon":
        return polygon([[[_number(n) for n in pair.split(",")] for pair in shape.get("points", "").split(";") if pair]])
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (_number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        return ellipse(x, y, radius_x, radius_y, _number(shape.get("rotation", "0")))
    if shape.tag == "mask":
        top, left, height, width = (_whole(shape.get(key)) for key in ("top", "left", "height", "width"))
        if min(height, width) < 1 or height * width > LARGEST_MASK:
            raise ValueError(f"its mask is stated as {width} x {height} px")
        counts = counts_of([_whole(n) for n in shape.get("rle", "").split(",")], height * width)
        filled = np.repeat(np.arange(len(counts)) % 2 == 1, counts)  # along the rows, unlike COCO's run lengths
        return Patch(filled.reshape(height, width), top, left) if filled.any() else None
    if shape.tag in ("polyline", "points", "skeleton"):
        raise ValueError(LINE)
    raise ValueError(BOX if shape.tag in ("box", "cuboid") else f"the shape {shape.tag[:20]!r} is not known")


def _number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise ValueError(f"{(text or '')[:20]!r} is no number") from None
    return finite(value)


def _whole(text: str | None) -> int:
    value = _number(text)
    if not value.is_integer() or abs(value) > 2**31:
        raise ValueError(f"{(text or '')[:20]!r} is no whole number")
    return int(value)
