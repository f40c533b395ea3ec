"""The example dataset: artificial phase-contrast images with masks, to try the package without own images."""

# H W  size of an image in px (square)

from pathlib import Path

import cv2
import numpy as np

from ptsam_auto.data.dataset import Sample
from ptsam_auto.data.object_map import ObjectMap, blob, places, spindle, stroke, walk
from ptsam_auto.data.random_fields import Rng, blurred, noise, slope
from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.files import write_bytes

EXAMPLE_SIZE = 512


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


def render_example(index: int, seed: int = 0) -> Sample:
    """Return one image of the example dataset: adherent cells in phase contrast, 512 x 512 px.

    The mean grey value of cells and background is the same, the illumination is uneven, and bubbles, debris and
    scratches have as much contrast as the cells, so a simple threshold cannot find the cells. People recognise them by
    halo, granules and nucleus.

    Args:
        index: Number of the image in the dataset, at least 0.
        seed: Random seed of the dataset, at least 0.
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
    return Sample(f"example_{index:02d}", np.repeat(grey[..., None], 3, 2), objects.of(1))


def write_example(folder: Path, count: int = 24, seed: int = 0) -> None:
    """Write the example dataset as images/NAME.png and masks/NAME.png (0 and 255).

    Args:
        folder: Output folder; it is created if it does not exist.
        count: Number of images, at least 1.
        seed: Random seed of the dataset.

    Raises:
        ConfigError: count is below 1.
        OutputError: The folder is not empty, or cannot be written to.
    """
    if count < 1:
        raise ConfigError(f"The number of images is {count}; expected at least 1.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is not empty; choose a new folder for the example dataset.")
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        for index in range(count):
            sample = render_example(index, seed)
            _write_png(folder / "images" / f"{sample.name}.png", sample.image[..., 0])
            _write_png(folder / "masks" / f"{sample.name}.png", sample.mask.astype(np.uint8) * 255)
    except OSError as problem:
        raise OutputError(f"{folder} cannot be written to: {problem.strerror}. Choose another folder.") from problem


def _write_png(path: Path, pixels_HW: np.ndarray) -> None:
    write_bytes(path, cv2.imencode(".png", pixels_HW)[1].tobytes())
