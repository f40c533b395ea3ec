"""Images drawn by us: the example set that ships with the package, and endless scenes for pretraining.

The drawing itself is in `scenes/`, one function a family of instruments; this file says what comes out.
"""

# H W  an image's size in px (square)   n  instances in a scene

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ptsam_auto.data.dataset import Sample
from ptsam_auto.data.scenes import lines, matter, microscopy
from ptsam_auto.data.scenes.fields import Rng, blurred, noise, slope
from ptsam_auto.data.scenes.layout import Layout, blob, places, spindle, stroke, walk
from ptsam_auto.data.scenes.optics import recorded, tinted
from ptsam_auto.errors import ConfigError, OutputError

EXAMPLE_SIZE = 512
SMALLEST_SCENE = 48

Family = Callable[[Rng, int], tuple[np.ndarray, Layout]]

FAMILIES: dict[str, Family] = {
    function.__name__: function
    for function in (
        microscopy.fluorescence,
        microscopy.phase_contrast,
        microscopy.dic,
        microscopy.tissue,
        microscopy.electron,
        microscopy.bacteria,
        matter.particles,
        matter.crystals,
        matter.grains,
        matter.field,
        matter.endoscope,
        matter.patterns,
        matter.bubbles,
        lines.vessels,
        lines.fibres,
        lines.cracks,
        lines.neurons,
    )
}

# In these a kind is whatever the scene made of it: a shape, a width, a texture. Elsewhere a kind is one thing.
KINDS_VARY = frozenset({"particles", "patterns", "fibres"})
MOST_KINDS = 4  # in any scene


@dataclass(frozen=True)
class Scene:
    """A rendered image of which every pixel's meaning is known.

    Args:
        family: a key of FAMILIES.
        image: H W 3, uint8, RGB.
        labels: H W, int32; 0 is ground (truly nothing there), 1 to n are instances.
        kinds: n + 1, int32; kinds[label] is what the instance is an example of, from 1; kinds[0] is 0.
    """

    family: str
    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray


def render_scene(seed: int, size: int, family: str | None = None) -> Scene:
    """A scene for pretraining, the same for the same arguments.

    Args:
        seed: not negative.
        size: H = W in px, at least 48.
        family: a key of FAMILIES; None lets the seed choose.

    Raises:
        ConfigError: an unknown family, or a size below 48 px.
    """
    if size < SMALLEST_SCENE:
        raise ConfigError(f"A scene is at least {SMALLEST_SCENE} px wide; found {size}.")
    if family is not None and family not in FAMILIES:
        raise ConfigError(f"No scene family is called {family!r}; there are {', '.join(FAMILIES)}.")
    rng = np.random.default_rng([seed, size])
    chosen = str(rng.choice(list(FAMILIES)))
    family = family or chosen
    picture_HW3, layout = FAMILIES[family](rng, size)
    image = recorded(rng, tinted(rng, picture_HW3.astype(np.float32)))
    labels, kinds = layout.finished()
    return Scene(family, image, labels, kinds)


def render_example(index: int, seed: int = 0) -> Sample:
    """One image of the example set: adherent cells in phase contrast, 512 x 512 px.

    The cells have the ground's own mean grey, the light is uneven, and bubbles, debris and scratches are as
    conspicuous as the cells, so no threshold finds them; halo, granules and nucleus show at once what is meant.

    Args:
        index: which image of the set; not negative.
        seed: which set; not negative.
    """
    rng = np.random.default_rng([seed, index, EXAMPLE_SIZE])
    size = EXAMPLE_SIZE
    layout = Layout(size)
    for centre, radius in places(rng, size, rng.uniform(20, 36, int(rng.integers(26, 46))), 0.72, 0.75):
        if rng.random() < 0.45:
            layout.fill(spindle(rng, centre, radius, int(rng.integers(2, 4))), 1)
        else:
            layout.fill(blob(rng, centre, radius, rng.uniform(1.1, 1.9), 0.12), 1)
    for centre, radius in places(rng, size, rng.uniform(9, 22, int(rng.integers(3, 8))), 1.0):
        layout.fill(blob(rng, centre, radius, 1.05, 0.02), 2)
    for centre, radius in places(rng, size, rng.uniform(2.5, 6, int(rng.integers(15, 40))), 1.0):
        layout.fill(blob(rng, centre, radius, 1.5, 0.25), 3)
    picture = microscopy.phase_contrast_of(rng, layout)[..., 0]
    picture += rng.uniform(0.14, 0.22) * slope(rng, size) + 0.02 * noise(rng, size, 14, 2)
    for _ in range(int(rng.integers(1, 4))):
        scratch = np.zeros((size, size), np.uint8)
        stroke(scratch, walk(rng, rng.uniform(0, size, 2), rng.uniform(0, 6.3), size * rng.uniform(0.3, 0.9), 0.02), 2)
        picture += rng.choice([-0.2, 0.25]) * blurred(scratch > 0, 0.8)
    picture = blurred(picture, 0.8) + 0.022 * rng.standard_normal((size, size), np.float32)
    grey = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Sample(f"example_{index:02d}", np.repeat(grey[..., None], 3, 2), layout.of(1))


def write_example(folder: Path, count: int = 24, seed: int = 0) -> None:
    """Write the example set as images/NAME.png and masks/NAME.png (0 and 255).

    Args:
        folder: made if it does not exist.
        count: how many images; at least 1.
        seed: which set.

    Raises:
        ConfigError: count is below 1.
        OutputError: the folder holds something already, or cannot be written to.
    """
    if count < 1:
        raise ConfigError(f"An example set has at least 1 image; found {count}.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is not empty; name a new folder for the example set.")
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        for index in range(count):
            sample = render_example(index, seed)
            _write_png(folder / "images" / f"{sample.name}.png", sample.image[..., 0])
            _write_png(folder / "masks" / f"{sample.name}.png", sample.mask.astype(np.uint8) * 255)
    except OSError as problem:
        raise OutputError(f"{folder} cannot be written to: {problem.strerror}. Name another folder.") from problem


def _write_png(path: Path, pixels_HW: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels_HW)[1].tobytes())
