"""Scenes of thin structures: vessel trees, fibres, cracks, neurites.

Every scene type is a function of (rng, size) that returns the picture (H W 3 float32, about 0 to 1) and its objects.
One tree, fibre or net is one instance; all trees of one kind are the target of a group task.
"""

# H W  a scene's size in px (square)

import numpy as np

from nano.scenes.microscopy import Drawn, radii
from nano.scenes.shapes import SceneObjects, partition, to_border
from nano.scenes.textures import grey, painted, rgb, speckle, vignette
from ptsam_auto.data.object_map import blob, places, stroke, walk
from ptsam_auto.data.random_fields import Rng, blurred, noise


def tree(rng: Rng, size: int, width: float, wander: float, branches: int) -> np.ndarray:
    """A branching structure that enters from anywhere, H W bool."""
    mask = np.zeros((size, size), np.uint8)
    start = rng.uniform(0, size, 2)
    heading = np.arctan2(*(size / 2 - start)[::-1]) + rng.normal(0, 0.5)
    trunk = walk(rng, start, heading, size * rng.uniform(0.6, 1.2), wander)
    stroke(mask, trunk, width, 0.5)
    stems = [(trunk, width)]
    for _ in range(branches):
        stem, thick = stems[rng.integers(len(stems))]
        at = int(rng.integers(1, max(2, len(stem) - 2)))
        heading = np.arctan2(*(stem[at] - stem[at - 1])[::-1]) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        branch = walk(rng, stem[at], heading, size * rng.uniform(0.1, 0.5), wander)
        thick *= rng.uniform(0.5, 0.85)
        stroke(mask, branch, thick, 0.5)
        stems.append((branch, thick))
    return mask > 0


def vessels(rng: Rng, size: int) -> Drawn:
    """Draw a fundus: dark vessels (1), a bright disc (2), small lesions (3), sometimes paler vessels (4)."""
    objects = SceneObjects(size)
    if rng.random() < 0.5:
        objects.fill(blob(rng, rng.uniform(0.15, 0.85, 2) * size, size * rng.uniform(0.07, 0.13), 1.1, 0.04), 2)
    for centre, radius in places(
        rng, size, np.full(int(rng.choice([0, 6, 16])), size * rng.uniform(0.008, 0.025)), 1.2
    ):
        objects.fill(blob(rng, centre, max(radius, 2.1), 1.3, 0.2), 3)
    two = rng.random() < 0.4
    for number in range(int(rng.integers(1, 5))):
        width = size * rng.uniform(0.008, 0.028)
        kind = 4 if two and number % 2 else 1
        objects.put(tree(rng, size, width, rng.uniform(0.08, 0.25), int(rng.integers(3, 14))), kind)
    skin = rgb(0.75, 0.4, 0.2) * rng.uniform(0.7, 1.2, 3).astype(np.float32)
    ground = 0.85 + 0.08 * noise(rng, size, size / 4, 3) + 0.03 * noise(rng, size, 5, 2)
    absorbed = blurred(objects.of(1), 0.8) * rng.uniform(0.25, 0.5) + blurred(objects.of(4), 0.8) * rng.uniform(
        0.12, 0.22
    )
    absorbed = absorbed * np.clip(0.9 + 0.25 * noise(rng, size, size / 5), 0.3, 1.2)
    picture = painted(ground, skin) * (1 - painted(absorbed, rgb(0.6, 1, 0.9)))
    picture += painted(blurred(objects.of(2), 0.02 * size), rgb(0.3, 0.35, 0.25))
    sign = rng.choice([-1, 1])
    picture += painted(sign * 0.25 * blurred(objects.of(3), 0.8), rgb(0.6, 1, 0.6))
    return picture * np.clip(1.1 - rng.uniform(0, 0.6) * vignette(rng, size), 0, 1.2)[..., None], objects


def fibres(rng: Rng, size: int) -> Drawn:
    """Draw crossing fibres of one or two widths (1, 2) on a mesh or a haze, with particles (3) between them."""
    objects = SceneObjects(size)
    wander = rng.choice([0.01, 0.05, 0.15])
    for kind in range(1, int(rng.choice([2, 3]))):
        width = size * rng.uniform(0.006, 0.035)
        for _ in range(int(rng.integers(4, 28))):
            mask = np.zeros((size, size), np.uint8)
            start = rng.uniform(-0.2, 1.2, 2) * size
            stroke(
                mask,
                walk(rng, start, rng.uniform(0, 2 * np.pi), size * rng.uniform(0.4, 1.6), wander),
                width * rng.uniform(0.7, 1.3),
            )
            objects.put(mask > 0, kind)
    for centre, radius in places(rng, size, radii(rng, size, 0.012, 0.04, rng.choice([0.0, 0.03])), 1.0):
        objects.fill(blob(rng, centre, radius, 1.3, 0.15), 3)
    depth = objects.depth()
    body = (
        objects.varied(rng, 0.45, 0.95)
        * (0.45 + 0.55 * np.minimum(depth / (0.008 * size), 1))
        * (1 + 0.06 * noise(rng, size, 4, 2))
    )
    behind = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(0, 30))):
        stroke(
            behind, walk(rng, rng.uniform(0, 1, 2) * size, rng.uniform(0, 6.3), size, wander), max(1.0, 0.006 * size)
        )
    ground = rng.uniform(0.05, 0.25) + 0.1 * blurred(behind > 0, 2.5) + 0.03 * noise(rng, size, size / 6, 3)
    return grey(np.where(objects.labels_HW > 0, body, ground)), objects


def cracks(rng: Rng, size: int) -> Drawn:
    """Draw cracks (1) in asphalt, concrete or glaze, with stains, joints and patches (2), which are not cracks."""
    objects = SceneObjects(size)
    ground = rng.uniform(0.45, 0.7) + rng.uniform(0.02, 0.07) * noise(rng, size, rng.uniform(1.5, 5), 2)
    ground += 0.05 * noise(rng, size, size / 3, 3)
    for centre, radius in places(rng, size, radii(rng, size, 0.03, 0.1, rng.choice([0.0, 0.06])), 1.0):
        objects.fill(blob(rng, centre, radius, 1.6, 0.3), 2)
    thin = rng.uniform(0.005, 0.016) * size
    if rng.random() < 0.3:
        net = partition(rng, size, int(rng.integers(5, 40)), rng.uniform(1, 4) * size / 256)
        open_ = noise(rng, size, size / 4) > rng.uniform(-1.2, 0.3)
        objects.put((to_border(net) < thin / 2) & open_, 1)
    else:
        for _ in range(int(rng.integers(1, 4))):
            objects.put(tree(rng, size, thin, rng.uniform(0.3, 0.7), int(rng.integers(0, 7))), 1)
    crack = blurred(objects.of(1), 0.5) * np.clip(0.8 + 0.4 * noise(rng, size, size / 12), 0.2, 1.2)
    stain = blurred(objects.of(2), 1.5) * (1 + 0.3 * noise(rng, size, 8, 2))
    picture = ground - rng.uniform(0.2, 0.45) * crack - rng.uniform(-0.15, 0.25) * stain
    picture += rng.uniform(0.01, 0.04) * speckle(rng, size, rng.choice([0, 0.7]))
    return painted(picture, 1 + rng.uniform(-0.12, 0.12, 3)), objects


def neurons(rng: Rng, size: int) -> Drawn:
    """Draw bright cell bodies (1) and their neurites (2), in a haze of out-of-focus light."""
    objects = SceneObjects(size)
    bodies = places(rng, size, radii(rng, size, 0.02, 0.05, rng.uniform(0.02, 0.06)), 2.5)
    width = size * rng.uniform(0.005, 0.012)
    for centre, _ in bodies:
        mask = np.zeros((size, size), np.uint8)
        for _ in range(int(rng.integers(2, 6))):
            stroke(
                mask,
                walk(rng, centre, rng.uniform(0, 6.3), size * rng.uniform(0.15, 0.6), 0.25),
                width * rng.uniform(0.8, 1.5),
                0.4,
            )
        objects.put(mask > 0, 2)
    for centre, radius in bodies:
        objects.fill(blob(rng, centre, radius, 1.3, 0.12), 1)
    thin = objects.of(2) * objects.varied(rng, 0.3, 0.8) * np.clip(0.8 + 0.4 * noise(rng, size, size / 15), 0.1, 1.4)
    round_ = objects.of(1) * objects.varied(rng, 0.5, 1.0) * (1 + 0.2 * noise(rng, size, 5, 2))
    light = blurred(thin + round_, 0.7)
    picture = light + 0.35 * blurred(light, 0.03 * size) + 0.05 + 0.04 * np.clip(noise(rng, size, size / 8, 3), -1, 3)
    colours = (rgb(1, 1, 1), rgb(0.3, 1, 0.4), rgb(1, 0.35, 0.3), rgb(0.9, 0.8, 1))
    return painted(picture, colours[rng.integers(4)]), objects
