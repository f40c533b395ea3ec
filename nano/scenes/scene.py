"""Scenes: rendered images with complete annotation, in unlimited number."""

# H W  a scene's size in px (square)   n  instances in a scene

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nano.scenes import lines, materials, microscopy
from nano.scenes.optics import recorded, tinted
from nano.scenes.shapes import SceneObjects
from ptsam_auto.data.random_fields import Rng
from ptsam_auto.errors import ConfigError

SMALLEST_SCENE = 48

SceneType = Callable[[Rng, int], tuple[np.ndarray, SceneObjects]]

SCENE_TYPES: dict[str, SceneType] = {
    function.__name__: function
    for function in (
        microscopy.fluorescence,
        microscopy.phase_contrast,
        microscopy.dic,
        microscopy.tissue,
        microscopy.electron,
        microscopy.bacteria,
        materials.particles,
        materials.crystals,
        materials.grains,
        materials.field,
        materials.endoscope,
        materials.patterns,
        materials.bubbles,
        lines.vessels,
        lines.fibres,
        lines.cracks,
        lines.neurons,
    )
}

# In these a kind is another shape, width or texture in every scene. In all others it is always the same thing.
KINDS_VARY = frozenset({"particles", "patterns", "fibres"})
MOST_KINDS = 4  # in any scene


@dataclass(frozen=True)
class Scene:
    """A rendered image with complete annotation.

    Args:
        scene_type: a key of SCENE_TYPES.
        image: H W 3, uint8, RGB.
        labels: H W, int32; 0 is background, 1 to n are instances.
        kinds: n + 1, int32; kinds[label] is the instance's kind, from 1; kinds[0] is 0.
    """

    scene_type: str
    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray


def render_scene(seed: int, size: int, scene_type: str | None = None) -> Scene:
    """A scene for pretraining, the same for the same arguments.

    Args:
        seed: not negative.
        size: H = W in px, at least 48.
        scene_type: a key of SCENE_TYPES; None lets the seed choose.

    Raises:
        ConfigError: an unknown scene type, or a size below 48 px.
    """
    if size < SMALLEST_SCENE:
        raise ConfigError(f"A scene is at least {SMALLEST_SCENE} px wide; found {size}.")
    if scene_type is not None and scene_type not in SCENE_TYPES:
        raise ConfigError(f"No scene type is called {scene_type!r}; there are {', '.join(SCENE_TYPES)}.")
    rng = np.random.default_rng([seed, size])
    chosen = str(rng.choice(list(SCENE_TYPES)))
    scene_type = scene_type or chosen
    picture_HW3, objects = SCENE_TYPES[scene_type](rng, size)
    image = recorded(rng, tinted(rng, picture_HW3.astype(np.float32)))
    labels, kinds = objects.finished()
    return Scene(scene_type, image, labels, kinds)
