"""Writes objects in the formats of other programs: GeoJSON for QuPath, ROI sets for ImageJ, and COCO."""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from roifile import ROI_TYPE, ImagejRoi

from ptsam_auto.files import replacing, write_json, write_text
from ptsam_auto.objects.measures import Page, Row
from ptsam_auto.objects.outlines import Outline

NOT_MEASURED = ("image", "object", "class")  # columns that name an object
DECIMALS = 2  # of the corners of polygons; a hundredth of a pixel


def write_geojson(path: Path, page: Page, rows: Sequence[Row], class_name: str) -> None:
    """Write the objects of a page as GeoJSON, with their measurements; QuPath opens it by drag and drop.

    Args:
        path: The file.
        page: The page.
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
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}))


def write_rois(path: Path, pages: Iterable[Page]) -> None:
    """Write the objects of all pages of an image as a ROI set of ImageJ; holes are not part of it.

    Args:
        path: The file, .zip.
        pages: Pages of the image in their order.
    """
    rois = []
    for position, page in enumerate(pages, start=1):
        for outline in page.outlines:
            name = f"{position:04d}-{outline.number:05d}"
            if page.classes:
                name += f"-{page.class_of[outline.number - 1]}"  # The name of a class may be no name of a file.
            roi = ImagejRoi.frompoints(outline.ring, name=name, position=position - 1)  # it counts from 0
            roi.roitype = ROI_TYPE.POLYGON
            rois.append(roi)
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

    def add(self, page: Page, file_name: str) -> None:
        """Add the objects of a page; an object with holes is stored as run lengths, all others as polygons."""
        height, width = page.labels.shape
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": file_name, "height": height, "width": width})
        areas = np.bincount(page.labels.ravel())
        for outline in page.outlines:
            low, high = outline.ring.min(axis=0), outline.ring.max(axis=0)
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": page.class_of[outline.number - 1] if page.classes else 1,
                    "segmentation": _run_lengths(page.labels == outline.number) if outline.holes else [_flat(outline)],
                    "area": int(areas[outline.number]),
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "iscrowd": 0,
                }
            )

    def write(self, path: Path) -> None:
        """Write the file."""
        named = enumerate(self._categories, start=1)
        categories = [{"id": number, "name": name, "supercategory": ""} for number, name in named]
        write_json(path, {"images": self._images, "annotations": self._annotations, "categories": categories})


def _closed(ring: np.ndarray) -> list[list[float]]:
    """Return the corners as GeoJSON wants them: the first one is repeated at the end."""
    return np.vstack([ring, ring[:1]]).round(DECIMALS).tolist()


def _flat(outline: Outline) -> list[float]:
    return outline.ring.round(DECIMALS).ravel().tolist()


def _run_lengths(inside: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
