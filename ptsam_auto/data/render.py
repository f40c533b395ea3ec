"""The example dataset: artificial phase-contrast images with masks, to try the package without own images."""

# H W  size of an image in px (square)

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ptsam_auto.data.dataset import Sample
from ptsam_auto.data.object_map import ObjectMap, blob, places, spindle, stroke, walk
from ptsam_auto.data.random_fields import Rng, blurred, noise, slope
from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.files import write_bytes, write_json

EXAMPLE_SIZE = 512
CLASSES = ("cell", "debris", "speck")  # names of the kinds of objects, in the order of their numbers


def phase_contrast(rng: Rng, objects: ObjectMap, strength: float = 1.0) -> np.ndarray:
    """Return a phase-contrast image of cells (kind 1), bright debris (2) and specks (3), H W float32, about 0 to 1.

    Args:
        rng: Random generator; the same seed gives the same image.
        objects: Map of the objects.
        strength: Contrast of the cells; 1 is the normal contrast.
    """
    size, unit = objects.size, objects.size / 256 * rng.uniform(0.8, 1.3)
    depth = objects.depth()
    cells, dead, specks = (objects.of(kind).astype(np.float32) for kind in (1, 2, 3))
    ground = rng.uniform(0.4, 0.6) + 0.03 * noise(rng, size, size / 3, 3) + 0.015 * noise(rng, size, 4 * unit, 2)
    outside = 1 - cells
    halo = blurred(cells, 2.2 * unit) * outside
    rim = np.exp(-depth / (1.6 * unit)) * cells
    granules = noise(rng, size, 5 * unit, 3) * cells * objects.varied(rng, 0.5, 1.5)
    nucleus = np.exp(-(((objects.dome(depth, 1.0) - 0.75) / 0.12) ** 2)) * cells
    picture = ground + strength * (0.4 * halo - 0.13 * rim + 0.055 * granules - 0.06 * nucleus)
    picture += objects.varied(rng, -0.07, 0.05) * cells
    picture += (
        0.4 * blurred(dead, 1.2 * unit)
        + 0.25 * blurred(np.exp(-depth / unit) * dead, 0.6)
        - 0.35 * np.exp(-depth / (0.7 * unit)) * dead
    )
    picture -= 0.3 * blurred(specks, 0.5 * unit)
    return picture.astype(np.float32)


def render_example(index: int, seed: int = 0, *, classes: bool = False) -> Sample:
    """Return one image of the example dataset: adherent cells in phase contrast, 512 x 512 px.

    The mean grey value of cells and background is the same, the illumination is uneven, and bubbles, debris and
    scratches have as much contrast as the cells, so a simple threshold cannot find the cells. People recognise them by
    halo, granules and nucleus.

    Args:
        index: Number of the image in the dataset, at least 0.
        seed: Random seed of the dataset, at least 0.
        classes: Whether the mask has the numbers of CLASSES. By default it is that of the cells, bool.
    """
    rng = np.random.default_rng([seed, index, EXAMPLE_SIZE])
    size = EXAMPLE_SIZE
    objects = ObjectMap(size)
    for centre, radius in places(rng, size, rng.uniform(20, 36, int(rng.integers(26, 46))), 0.72, 0.75):
        if rng.random() < 0.45:
            objects.fill(spindle(rng, centre, radius, int(rng.integers(2, 4))), 1)
        else:
            objects.fill(blob(rng, centre, radius, rng.uniform(1.1, 1.9), 0.12), 1)
    for centre, radius in places(rng, size, rng.uniform(9, 22, int(rng.integers(3, 8))), 1.0):
        objects.fill(blob(rng, centre, radius, 1.05, 0.02), 2)
    for centre, radius in places(rng, size, rng.uniform(2.5, 6, int(rng.integers(15, 40))), 1.0):
        objects.fill(blob(rng, centre, radius, 1.5, 0.25), 3)
    picture = phase_contrast(rng, objects)
    picture += rng.uniform(0.14, 0.22) * slope(rng, size) + 0.02 * noise(rng, size, 14, 2)
    for _ in range(int(rng.integers(1, 4))):
        scratch = np.zeros((size, size), np.uint8)
        stroke(scratch, walk(rng, rng.uniform(0, size, 2), rng.uniform(0, 6.3), size * rng.uniform(0.3, 0.9), 0.02), 2)
        picture += rng.choice([-0.2, 0.25]) * blurred(scratch > 0, 0.8)
    picture = blurred(picture, 0.8) + 0.022 * rng.standard_normal((size, size), np.float32)
    grey = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    mask = objects.table(np.asarray(objects.kinds, np.uint8)) if classes else objects.of(1)
    return Sample(f"example_{index:02d}", np.repeat(grey[..., None], 3, 2), mask)


def write_example(folder: Path, count: int = 24, seed: int = 0, *, classes: bool = False) -> None:
    """Write the example dataset as images/NAME.png and masks/NAME.png (0 and 255).

    Args:
        folder: Output folder; it is created if it does not exist.
        count: Number of images, at least 1.
        seed: Random seed of the dataset.
        classes: Whether annotations.json (COCO) with the categories CLASSES is written instead of the masks.

    Raises:
        ConfigError: count is below 1.
        OutputError: The folder is not empty, or cannot be written to.
    """
    if count < 1:
        raise ConfigError(f"The number of images is {count}; expected at least 1.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is not empty; choose a new folder for the example dataset.")
        for part in ("images",) if classes else ("images", "masks"):
            (folder / part).mkdir(parents=True)
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            sample = render_example(index, seed, classes=classes)
            _write_png(folder / "images" / f"{sample.name}.png", sample.image[..., 0])
            if classes:
                annotations += _annotations(sample, index + 1, len(annotations) + 1)
            else:
                _write_png(folder / "masks" / f"{sample.name}.png", sample.mask.astype(np.uint8) * 255)
        if classes:
            _write_coco(folder / "annotations.json", count, annotations)
    except OSError as problem:
        raise OutputError(f"{folder} cannot be written to: {problem.strerror}. Choose another folder.") from problem


def _annotations(sample: Sample, image: int, first: int) -> list[dict[str, Any]]:
    """Return a COCO annotation for each connected area of each class of an image.

    Args:
        sample: Image with class numbers.
        image: Id of the image.
        first: Id of the first annotation.
    """
    found: list[dict[str, Any]] = []
    for category in range(1, len(CLASSES) + 1):
        own = (sample.mask == category).astype(np.uint8)
        count, labels, about, _ = cv2.connectedComponentsWithStats(own)
        for label in range(1, count):
            left, top, width, height, area = map(int, about[label])
            encoded = coco_mask.encode(np.asfortranarray((labels == label).astype(np.uint8)))
            found.append(
                {
                    "id": first + len(found),
                    "image_id": image,
                    "category_id": category,
                    "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
                    "bbox": [left, top, width, height],
                    "area": area,
                    "iscrowd": 0,
                }
            )
    return found


def _write_coco(path: Path, count: int, annotations: list[dict[str, Any]]) -> None:
    size = {"width": EXAMPLE_SIZE, "height": EXAMPLE_SIZE}
    images = [{"id": index + 1, "file_name": f"example_{index:02d}.png", **size} for index in range(count)]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})


def _write_png(path: Path, pixels_HW: np.ndarray) -> None:
    write_bytes(path, cv2.imencode(".png", pixels_HW)[1].tobytes())
