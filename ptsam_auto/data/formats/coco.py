"""COCO files: outlines as polygons or run lengths, with the images in the same folder or in images/."""

# H W  rows and columns in the COCO file, px

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.formats.annotation_files import annotation_files, has_kind, kind, load_json
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import Annotated, Outline, drawing_fault, size_fault
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Polygon, Region, Runs, lies_inside, polygon
from ptsam_auto.data.formats.run_lengths import counts_of
from ptsam_auto.data.options import DEFAULT, ReadingOptions

NAME = "coco"
SKETCH = "a COCO file (here or in annotations/) and its images (here or in images/)"
NO_OUTLINE = "cannot be drawn; expected polygons or run lengths"
WITHOUT_OUTLINES = {"coco-caption": "captions", "coco-keypoints": "keypoints", "coco-segments_info": "a panoptic list"}


def detect(folder: Path) -> bool:
    """Return whether a JSON file here or in annotations/ lists images and annotations."""
    return has_kind(folder, "coco", ".json")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read the COCO files; several files are merged if they annotate different images, or the same images equally.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "COCO", "annotation", options)
    for source in annotation_files(folder, ".json"):
        found = kind(source)
        if found == "coco":
            content = collection.load(source, load_json)
            if content is not None:
                _read_file(collection, source, content)
        elif found in WITHOUT_OUTLINES:
            collection.note(source, f"{WITHOUT_OUTLINES[found]} without outlines, left alone")
    return collection.listing()


def _read_file(collection: Collection, source: Path, content: dict[str, Any]) -> None:
    try:
        categories = _categories(content.get("categories") or [])
        images = [(_id(image, "id"), image) for image in _objects(content, "images")]
        annotations = [(_id(annotation, "image_id"), annotation) for annotation in _objects(content, "annotations")]
        repeats = [*_repeated_images(images), *_repeated_annotations(annotations)]
        for what in repeats:
            collection.problem(source, what)
        if repeats:
            return
        for name in categories.values():
            collection.labels[name] += 0
        by_image = defaultdict(list)
        for key, annotation in annotations:
            by_image[key].append(annotation)
        holes: list[str] = []
        for key, image in images:
            outlines = _read_image(collection, source, image, by_image.pop(key, []), categories)
            holes += [outline.place for outline in outlines if _may_have_hole(outline)]
    except KeyError as error:
        collection.problem(source, f"not as COCO writes it: KeyError {error}; export it again")
        return
    except ValueError as error:
        collection.problem(source, f"not as COCO writes it: {error}; export it again")
        return
    for key in sorted(by_image):
        collection.problem(source, f"annotations of image {key}, which is not among its images")
    _note_crowds(collection, source, [annotation for _, annotation in annotations])
    if holes:
        what = "a polygon inside another one, which COCO fills: foreground (if it is a hole, export run lengths, RLE)"
        collection.note(source, f"{collection.nouns(holes)} with {what}")


def _read_image(
    collection: Collection,
    source: Path,
    image: dict[str, Any],
    annotations: Sequence[dict[str, Any]],
    categories: dict[str, str],
) -> tuple[Outline, ...]:
    stated = image["file_name"]
    if not isinstance(stated, str) or not stated:
        raise ValueError(f"the file_name of image {_id(image, 'id')} is no text")
    size = (_whole(image, "height"), _whole(image, "width"))
    file = collection.locate(source, stated)
    if file is None:
        return ()
    sound = size_fault(size) is None
    outlines = tuple(_outline(annotation, size, categories) for annotation in annotations if sound)
    collection.add(Annotated(source, stated, file, size, outlines))
    return outlines


def _outline(annotation: dict[str, Any], size: tuple[int, int], categories: dict[str, str]) -> Outline:
    place = _id(annotation, "id") if annotation.get("id") is not None else ""
    category = _id(annotation, "category_id") if annotation.get("category_id") is not None else None
    label = "no category" if category is None else categories.get(category, f"category {category}")
    written = annotation.get("segmentation")
    if not written:
        return Outline(place, label, (), NO_OUTLINE)
    try:
        regions = _regions(written, size)
    except ValueError as error:
        return Outline(place, label, (), drawing_fault(error))
    return Outline(place, label, tuple(filter(None, regions)), flat=None in regions)


def _regions(written: Any, size: tuple[int, int]) -> list[Region | None]:  # noqa: ANN401 - JSON
    """Return the regions of a segmentation, None for a part without area; raises ValueError if it is not valid."""
    if isinstance(written, dict):
        if written.get("size") != list(size):
            raise ValueError(f"its run lengths are of size {written.get('size')!r:.40}, its image of {list(size)}")
        counts = counts_of(written.get("counts"), size[0] * size[1])
        return [Runs(counts, *size) if counts[1::2].any() else None]
    if not isinstance(written, list):
        raise ValueError("expected polygons or run lengths")
    polygons = [written] if not isinstance(written[0], list) else written  # one polygon without its own list
    return [polygon([numbers]) for numbers in polygons]


def _categories(written: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    names: dict[str, str] = {}
    if not isinstance(written, list):
        raise ValueError("its categories are no list")
    for category in written:
        if not isinstance(category, dict):
            raise ValueError("a category is no object")
        key, name = _id(category, "id"), str(category.get("name", ""))
        if names.setdefault(key, name) != name:
            raise ValueError(f"category id {key} is given to {names[key]} and to {name}")
    return names


def _objects(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    for number, item in enumerate(content[key], start=1):
        if not isinstance(item, dict):
            raise ValueError(f"entry {number} of {key} is no object")
    return list(content[key])


def _id(item: dict[str, Any], key: str) -> str:
    """Return an id as text, because tools write 7, "7" and 7.0."""
    value = item[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"an {key} is of the type {type(value).__name__}; expected a number or text")
    return str(value)


def _whole(image: dict[str, Any], key: str) -> int:
    value = image[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"the {key} of image {_id(image, 'id')} is no whole number")
    return value


def _repeated_images(images: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    first: dict[str, str] = {}
    found = []
    for key, image in images:
        name = str(image.get("file_name"))
        if key in first:
            found.append(
                f"image id {key} is given to {first[key]} and to {name}; expected a different id for each image "
                "(files that were joined need new ids, for their annotations too)"
            )
        first.setdefault(key, name)
    return found


def _repeated_annotations(annotations: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    first: dict[str, str] = {}
    found = []
    for image, annotation in annotations:
        if annotation.get("id") is None:
            continue
        key = _id(annotation, "id")
        if key in first:
            found.append(f"annotation id {key} is given twice, in image {first[key]} and in image {image}")
        first.setdefault(key, image)
    if len(found) > 3:
        return [*found[:3], f"{len(found) - 3} more annotation ids are given twice; expected a different id for each"]
    return found


def _note_crowds(collection: Collection, source: Path, annotations: Sequence[dict[str, Any]]) -> None:
    crowds = [str(annotation.get("id", "")) for annotation in annotations if annotation.get("iscrowd") in (1, True)]
    if crowds:
        collection.note(source, f"crowds (iscrowd) in {collection.nouns(crowds)}: foreground like all others")


def _may_have_hole(outline: Outline) -> bool:
    rings = [ring for region in outline.regions if isinstance(region, Polygon) for ring in region.rings]
    if len(rings) < 2:
        return False
    low = np.array([ring.min(axis=0) for ring in rings])
    high = np.array([ring.max(axis=0) for ring in rings])
    for index, ring in enumerate(rings):
        around = (low <= low[index]).all(axis=1) & (high >= high[index]).all(axis=1)
        if any(other != index and lies_inside(ring, rings[other]) for other in np.flatnonzero(around)):
            return True
    return False
