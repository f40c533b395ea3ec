"""VGG Image Annotator 2: a project, JSON or CSV file with the polygons, circles and ellipses of all images."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptsam_auto.data.formats.annotation_files import files_of_kind, has_kind, load_json
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import BOX, LINE, Annotated, Outline, outlined
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Region, ellipse, finite, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.errors import DatasetError, Problem

NAME = "via"
SKETCH = "a VIA 2 project, JSON or CSV and its images (here or in images/)"
Regions = list[tuple[Any, Any]]  # shape and region attributes


def detect(folder: Path) -> bool:
    """Return whether a JSON or CSV file was written by VIA."""
    return has_kind(folder, NAME, ".json", ".csv")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read the files of VIA; images that they do not list are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "VIA", "region", options)
    for source in files_of_kind(folder, NAME, ".json", ".csv"):
        images = collection.load(source, _from_csv if source.suffix.lower() == ".csv" else _from_json)
        for stated, regions in images or []:
            file = collection.locate(source, stated)
            if file is not None:
                outlines = tuple(_outline(number, *region) for number, region in enumerate(regions, start=1))
                collection.add(Annotated(source, stated, file, None, outlines))
    return collection.listing()


def _from_json(path: Path) -> list[tuple[str, Regions]]:
    content = load_json(path)
    content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict):
        raise _odd(path, "its list of images is no object")
    images = []
    for number, image in enumerate(content.values(), start=1):
        if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
            raise _odd(path, f"image {number} has no file name")
        regions = image.get("regions")
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise _odd(path, f"the regions of image {number} are no list")
        images.append((image["filename"], [(r.get("shape_attributes"), r.get("region_attributes")) for r in regions]))
    return images


def _from_csv(path: Path) -> list[tuple[str, Regions]]:
    images: dict[str, Regions] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(_without_comments(file)):
                name = row.get("filename") or row.get("#filename")
                if not name:
                    raise ValueError("a row has no file name")
                shape = json.loads(row.get("region_shape_attributes") or "{}")
                if shape:
                    images[name].append((shape, json.loads(row.get("region_attributes") or "{}")))
                else:
                    images[name] += []  # an image without regions
    except (ValueError, csv.Error, RecursionError, TypeError) as error:
        raise _odd(path, str(error)) from error
    except OSError as error:
        raise DatasetError(path.parent, [Problem(path.name, f"cannot be opened: {error.strerror}")]) from error
    return list(images.items())


def _without_comments(lines: Iterable[str]) -> Iterable[str]:
    return (line for line in lines if not line.startswith("#") or line.startswith("#filename"))


def _odd(path: Path, what: str) -> DatasetError:
    return DatasetError(path.parent, [Problem(path.name, f"not as VIA writes it: {what}; export it again")])


def _outline(number: int, shape: Any, attributes: Any) -> Outline:  # noqa: ANN401 - JSON
    return outlined(str(number), _label(attributes), lambda: _region(shape))


def _label(attributes: Any) -> str:  # noqa: ANN401 - JSON
    """Return the values of a region's attributes; for checkboxes, the names of those that are set."""
    if not isinstance(attributes, dict):
        return ""
    values = []
    for value in attributes.values():
        if isinstance(value, dict):
            values += [str(key) for key, is_set in value.items() if is_set]
        elif value not in ("", None):
            values.append(str(value))
    return ", ".join(values)


def _region(shape: Any) -> Region | None:  # noqa: ANN401 - JSON
    kind = shape["name"]
    if kind == "polygon":
        return polygon([list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))])
    if kind == "circle":
        x, y, radius = (finite(shape[key]) for key in ("cx", "cy", "r"))
        return ellipse(x, y, radius, radius)
    if kind == "ellipse":
        x, y, radius_x, radius_y = (finite(shape[key]) for key in ("cx", "cy", "rx", "ry"))
        return ellipse(x, y, radius_x, radius_y, math.degrees(finite(shape.get("theta", 0))))
    if kind in ("point", "polyline"):
        raise ValueError(LINE)
    raise ValueError(BOX if kind == "rect" else f"the shape {str(kind)[:20]!r} is not known")
