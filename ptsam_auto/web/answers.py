"""What the server answers: masks, probabilities and objects, as bytes of a file or as JSON."""

# H W  rows and columns, px

import base64
import csv
import io
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image
from pycocotools import mask as coco_mask

from ptsam_auto.data.raster import Pages
from ptsam_auto.objects.exports import Coco, annotations_of, features_of, rois_of, write_geojson, write_rois
from ptsam_auto.objects.label_files import write_labels
from ptsam_auto.objects.measures import Page, rows_of_objects
from ptsam_auto.objects.pixel_size import PixelSize
from ptsam_auto.objects.separation import ObjectSettings, separated_classes
from ptsam_auto.specialist.report import class_palette

Form = Literal["mask", "labels", "geojson", "imagej", "coco", "csv"]
"""The forms of a mask as a file."""
ENDINGS: dict[str, tuple[str, str]] = {
    "mask": (".png", "image/png"),
    "labels": ("_labels.tif", "image/tiff"),
    "geojson": (".geojson", "application/geo+json"),
    "imagej": ("_rois.zip", "application/zip"),
    "coco": ("_coco.json", "application/json"),
    "csv": ("_objects.csv", "text/csv"),
    "probability": ("_probability.tif", "image/tiff"),
}
STEPS = 256  # of the probability in the page, see `in_steps`
FOREGROUND = "foreground"  # name of a single class in the files of other programs


@dataclass(frozen=True)
class Answer:
    """A file.

    Args:
        name: Its name.
        kind: Its media type.
        content: Its bytes.
    """

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Drawn:
    """A mask, and what is known about its image.

    Args:
        name: Name of the image.
        mask: Mask, H W, bool, or the numbers of several classes.
        settings: How its objects are separated.
        pixel_size: Size of a pixel, or None.
        classes: Names of several classes, in the order of their numbers; () if the mask is of one.
        class_name: Name of that one.
    """

    name: str
    mask: np.ndarray
    settings: ObjectSettings
    pixel_size: PixelSize | None = None
    classes: tuple[str, ...] = ()
    class_name: str = FOREGROUND

    def page(self) -> Page:
        """Return the objects."""
        labels, class_of = separated_classes(self.mask, len(self.classes), self.settings)
        return Page(self.name, labels, pixel_size=self.pixel_size, classes=self.classes, class_of=class_of)


def _picture_of(mask: np.ndarray) -> Image.Image:
    """Return a mask, H W, as a picture: 0 and 255 if it is bool, or class numbers with a palette."""
    if mask.dtype == bool:
        return Image.fromarray(mask.astype(np.uint8) * 255)
    picture = Image.fromarray(mask)
    picture.putpalette(class_palette())  # The pixels stay the class numbers.
    return picture


def as_file(drawn: Drawn, form: Form) -> Answer:
    """Return a mask, or its objects, as a file."""
    ending, kind = ENDINGS[form]
    if form == "mask":
        return Answer(f"{drawn.name}{ending}", kind, png(_picture_of(drawn.mask)))
    page = drawn.page()
    if form == "csv":
        return Answer(f"{drawn.name}{ending}", kind, _table(page))
    with tempfile.TemporaryDirectory(prefix="ptsam-auto-") as folder:
        path = Path(folder) / "result"
        match form:
            case "labels":
                write_labels(path, [page.labels], Pages(), drawn.pixel_size)
            case "geojson":
                write_geojson(path, features_of(page, rows_of_objects(page), drawn.class_name))
            case "imagej":
                write_rois(path, rois_of(page, 1))
            case "coco":
                coco = Coco(drawn.classes or [drawn.class_name])
                coco.add(drawn.name, page.size, annotations_of(page))
                coco.write(path)
        return Answer(f"{drawn.name}{ending}", kind, path.read_bytes())


def probability_file(name: str, probability: np.ndarray) -> Answer:
    """Return a map of the foreground probability as TIFF, float32."""
    ending, kind = ENDINGS["probability"]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, probability.astype(np.float32), compression="zlib", photometric="minisblack")
    return Answer(f"{name}{ending}", kind, buffer.getvalue())


def compressed_runs(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's compressed run lengths of a mask (H W, bool), as pycocotools and detectron2 read them."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


def summary(drawn: Drawn) -> dict[str, Any]:
    """Return the objects of a mask: their number, their areas, and how much of the image they cover."""
    labels = drawn.page().labels
    areas = np.bincount(labels.ravel())[1:]
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return {
        "objects": len(areas),
        "touching_border": int(np.count_nonzero(border)),
        "areas_px": areas.tolist(),
        "areas_um2": [float(area * drawn.pixel_size.area) for area in areas] if drawn.pixel_size else None,
        "foreground_share": float(np.count_nonzero(drawn.mask) / drawn.mask.size),
    }


def png(image: np.ndarray | Image.Image) -> bytes:
    """Return an image (H W or H W 3, uint8, or a picture) as PNG."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def in_steps(probability: np.ndarray) -> np.ndarray:
    """Return a map of the probability in whole steps, H W, uint8, so that a threshold in steps gives the same mask.

    For each whole number t from 1 to 255, the value is at least t exactly where the probability is above t / 256.
    """
    return (np.ceil(probability * np.float32(STEPS)) - 1).clip(0, STEPS - 1).astype(np.uint8)


def packed(values: np.ndarray) -> str:
    """Return values of uint8, row by row, compressed (zlib) and in base64: what the page unpacks."""
    return encoded(zlib.compress(np.ascontiguousarray(values).tobytes(), 1))


def encoded(content: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(content).decode()


def _table(page: Page) -> bytes:
    rows, text = rows_of_objects(page), io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else ["image", "object", "area_px"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()
