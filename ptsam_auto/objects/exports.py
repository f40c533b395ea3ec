"""Writes objects in the formats of other programs: GeoJSON for QuPath, ROI sets for ImageJ, and COCO."""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from roifile import ROI_TYPE, ImagejRoi
from scipy import ndimage

from ptsam_auto.files import replacing, write_json, write_text
from ptsam_auto.objects.measures import Page, Row
from ptsam_auto.objects.outlines import Outline

NOT_MEASURED = ("image", "object", "class")  # columns that name an object
LARGEST_IN_IMAGEJ = 2**15 - 1  # px; its files have 16 bits for a place
DECIMALS = 2  # of the corners of polygons; a hundredth of a pixel


def features_of(page: Page, rows: Sequence[Row], class_name: str) -> list[dict[str, Any]]:
    """Return the objects of a page as GeoJSON, with their measurements.

    Args:
        page: The page, or some rows of it.
        rows: Measurements of its objects, see `measures.rows_of_objects`.
        class_name: Name of the class of all objects, if there is a single class.
    """
    features = []
    for outline, row in zip(page.outlines, rows, strict=True):
        rings = [_closed(ring) for ring in (outline.ring, *outline.holes)]
        measured = {name: float(value) for name, value in row.items() if name not in NOT_MEASURED}
        features.append(
            {
                "type": "Feature",
                "id": f"{page.name}-{outline.number}",
                "geometry": {"type": "Polygon", "coordinates": rings},
                "properties": {
                    "objectType": "detection",
                    "name": str(outline.number),
                    "classification": {"name": page.class_name(outline.number, class_name)},
                    "measurements": measured,
                },
            }
        )
    return features


def write_geojson(path: Path, features: Sequence[Mapping[str, Any]]) -> None:
    """Write the objects of a page, see `features_of`; QuPath opens the file by drag and drop."""
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}))


def rois_of(page: Page, position: int) -> list[ImagejRoi]:
    """Return the objects of a page as ROIs of ImageJ; holes are not part of them.

    Args:
        page: The page, or some rows of it; at most `LARGEST_IN_IMAGEJ` px long.
        position: Number of the page in its stack, from 1.
    """
    rois = []
    for outline in page.outlines:
        name = f"{position:04d}-{outline.number:05d}"
        if page.classes:
            name += f"-{page.class_number(outline.number)}"  # The name of a class may be no name of a file.
        roi = ImagejRoi.frompoints(outline.ring, name=name, position=position - 1)  # it counts from 0
        roi.roitype = ROI_TYPE.POLYGON
        rois.append(roi)
    return rois


def write_rois(path: Path, rois: Iterable[ImagejRoi]) -> None:
    """Write the objects of all pages of an image, see `rois_of`, as a ROI set, .zip."""
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for roi in rois:
            archive.writestr(f"{roi.name}.roi", roi.tobytes())


class Coco:
    """Collects the objects of all images for one COCO file.

    Args:
        categories: Names of the categories, in the order of their numbers, which count from 1.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self._categories = categories
        self._images: list[Mapping[str, Any]] = []
        self._annotations: list[Mapping[str, Any]] = []

    def add(self, file_name: str, size: tuple[int, int], annotations: Iterable[Mapping[str, Any]]) -> None:
        """Add an image and its objects.

        Args:
            file_name: Name of the image.
            size: Its height and width, px.
            annotations: Its objects, see `annotations_of`.
        """
        height, width = size
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": file_name, "height": height, "width": width})
        for annotation in annotations:
            self._annotations.append({"id": len(self._annotations) + 1, "image_id": image, **annotation})

    def write(self, path: Path) -> None:
        """Write the file."""
        named = enumerate(self._categories, start=1)
        categories = [{"id": number, "name": name, "supercategory": ""} for number, name in named]
        write_json(path, {"images": self._images, "annotations": self._annotations, "categories": categories})


def annotations_of(page: Page) -> list[dict[str, Any]]:
    """Return the objects of a page for COCO; an object with holes is stored as run lengths, all others as polygons.

    Args:
        page: The page, or some rows of it.
    """
    areas, boxes = np.bincount(page.labels.ravel()), ndimage.find_objects(page.labels)
    annotations = []
    for number, (outline, box) in enumerate(zip(page.outlines, boxes, strict=True), start=1):
        low, high = outline.ring.min(axis=0), outline.ring.max(axis=0)
        annotations.append(
            {
                "category_id": page.class_number(outline.number),
                "segmentation": _run_lengths(page, number, box) if outline.holes else [_flat(outline)],
                "area": int(areas[number]),
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "iscrowd": 0,
            }
        )
    return annotations


def _closed(ring: np.ndarray) -> list[list[float]]:
    """Return the corners as GeoJSON wants them: the first one is repeated at the end."""
    return np.vstack([ring, ring[:1]]).round(DECIMALS).tolist()


def _flat(outline: Outline) -> list[float]:
    return outline.ring.round(DECIMALS).ravel().tolist()


def _run_lengths(page: Page, number: int, box: tuple[slice, slice]) -> dict[str, Any]:
    """Return the pixels of an object as COCO counts them: column by column through the whole page."""
    height, width = page.size
    columns, rows = np.nonzero((page.labels[box] == number).T)
    places = (columns + box[1].start) * height + rows + box[0].start + page.top
    first = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    starts = places[first]
    ends = places[np.append(first[1:], len(places)) - 1] + 1
    bounds = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts = {"counts": np.diff(bounds).tolist(), "size": [height, width]}
    encoded = coco_mask.frPyObjects(counts, height, width)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
