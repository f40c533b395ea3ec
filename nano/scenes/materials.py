"""Scenes of materials, soil and cameras: particles, crystals, grains, plants, endoscopes, patterns.

Every scene type is a function of (rng, size) that returns the picture (H W 3 float32, about 0 to 1) and its objects.
"""

# H W  a scene's size in px (square)

import numpy as np

from nano.scenes.microscopy import Drawn, radii
from nano.scenes.shapes import SceneObjects, facets, partition, rod, to_border
from nano.scenes.textures import grey, painted, rgb, speckle, vignette
from ptsam_auto.data.object_map import blob, places, turn
from ptsam_auto.data.random_fields import Rng, blurred, noise


def particles(rng: Rng, size: int) -> Drawn:
    """Two shapes of particle (1, 2) piled on a textured film, with the bright rims of a scanning microscope."""
    objects = SceneObjects(size)
    shapes = rng.permutation(["round", "facets", "rod", "rough"])[:2]
    for kind, shape in enumerate(shapes[: rng.choice([1, 2], p=[0.3, 0.7])], 1):
        sizes = radii(rng, size, 0.025, 0.12, rng.uniform(0.08, 0.35), 0.3)
        for centre, radius in places(rng, size, sizes, rng.choice([0.4, 0.8, 1.0]), rng.uniform(0, 0.8)):
            objects.fill(_particle(rng, shape, centre, radius), kind)
    depth = objects.depth()
    rim = np.exp(-depth / rng.uniform(1.2, 3.5)) * (objects.labels_HW > 0)
    light = (
        objects.varied(rng, 0.25, 0.75) if rng.random() < 0.4 else objects.table(_kind_values(rng, objects, 0.25, 0.75))
    )
    texture = noise(rng, size, rng.uniform(3, 14), 3)
    ground = rng.uniform(0.2, 0.7) + rng.uniform(0.02, 0.08) * noise(
        rng, size, rng.uniform(3, 25), 3, rng.choice([1, 1, 4])
    )
    body = light + rng.uniform(-0.2, 0.3) * (objects.dome(depth, 0.5) - 0.5) + rng.uniform(0.01, 0.06) * texture
    picture = np.where(objects.labels_HW > 0, body + rng.uniform(-0.3, 0.4) * rim, ground)
    shadow = blurred(objects.labels_HW > 0, 0.015 * size) * (objects.labels_HW == 0)
    return grey(picture - rng.uniform(0, 0.3) * shadow), objects


def _particle(rng: Rng, shape: str, centre: np.ndarray, radius: float) -> np.ndarray:
    if shape == "facets":
        return facets(rng, centre, radius, rng.uniform(1, 1.4), int(rng.integers(4, 8)))
    if shape == "rod":
        return rod(rng, centre, 3 * radius, max(0.7 * radius, 2.0), 0.1)
    return blob(rng, centre, radius, 1.0 if shape == "round" else 1.4, 0.02 if shape == "round" else 0.25)


def _kind_values(rng: Rng, objects: SceneObjects, low: float, high: float) -> np.ndarray:
    """One value a label: its kind's, give or take."""
    by_kind = rng.uniform(low, high, 6)
    return (by_kind[objects.kinds] + rng.normal(0, 0.04, len(objects.kinds))).astype(np.float32)


def crystals(rng: Rng, size: int) -> Drawn:
    """Needles (1) and plates (2) between crossed polarisers: each has a flat colour, sometimes two."""
    objects = SceneObjects(size)
    for centre, radius in places(rng, size, radii(rng, size, 0.05, 0.13, rng.uniform(0.1, 0.4), 0.4), 0.6, 0.4):
        objects.fill(facets(rng, centre, radius, rng.uniform(1, 1.8), int(rng.integers(4, 7))), 2)
    for centre, radius in places(rng, size, radii(rng, size, 0.02, 0.05, rng.uniform(0.0, 0.12)), 0.3):
        objects.fill(facets(rng, centre, radius, rng.uniform(6, 14), 4), 1)
    colours = rng.uniform(0.15, 1.0, (len(objects.kinds), 3)).astype(np.float32)
    if rng.random() < 0.5:
        colours = np.repeat(colours[:, :1], 3, 1)
    colours[0] = rng.uniform(0.05, 0.9)
    facet = (noise(rng, size, size / 4) > 0) * objects.varied(rng, -0.2, 0.2)
    edge = np.exp(-objects.depth() / 1.3) * (objects.labels_HW > 0)
    picture = objects.table(colours) + grey(facet + rng.uniform(-0.4, 0.4) * edge + 0.02 * noise(rng, size, 8, 3))
    return picture + grey(0.04 * noise(rng, size, size / 3)), objects


def grains(rng: Rng, size: int) -> Drawn:
    """Polished metal: grains (2) that fill the picture, their boundaries as one net (1), dark inclusions (3)."""
    objects = SceneObjects(size)
    cells_HW = partition(rng, size, int(np.exp(rng.uniform(np.log(10), np.log(120)))), rng.choice([0.0, 1.5]))
    objects.labels_HW[:] = cells_HW
    objects.kinds += [2] * int(cells_HW.max())
    to_edge = to_border(cells_HW)
    light = rng.uniform(0.4, 0.8) + objects.varied(rng, -1, 1) * rng.choice([0.02, 0.08, 0.25])
    half = rng.uniform(0.7, 1.8) * size / 256
    objects.put(to_edge < max(half, 0.7), 1)
    for centre, radius in places(
        rng, size, np.full(int(rng.choice([0, 10, 30])), size * rng.uniform(0.008, 0.025)), 1.0
    ):
        objects.fill(blob(rng, centre, max(radius, 2.1), 1.4, 0.2), 3)
    picture = light + 0.03 * noise(rng, size, rng.uniform(2, 8), 2, rng.choice([1, 5]))
    picture += rng.choice([-1, -1, 1]) * rng.uniform(0.1, 0.35) * np.exp(-((to_edge / (half + 0.4)) ** 2))
    picture -= rng.uniform(0.2, 0.4) * objects.of(3)
    for _ in range(int(rng.integers(0, 5))):  # polishing scratches, which are no objects
        picture += 0.12 * _scratch(rng, size)
    return painted(picture, 1 + rng.uniform(-0.15, 0.15, 3) * (rng.random() < 0.4)), objects


def _scratch(rng: Rng, size: int) -> np.ndarray:
    """A straight thin line across the picture, H W in 0 to 1."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4) * size
    axis = np.arange(size, dtype=np.float32) - size / 2
    away = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None] - offset
    return np.exp(-((away / (0.6 * size / 256)) ** 2)).astype(np.float32)


def field(rng: Rng, size: int) -> Drawn:
    """Soil seen from above: broad-leaved plants (1), grass-like plants (2), stones (3)."""
    objects = SceneObjects(size)
    for centre, radius in places(rng, size, radii(rng, size, 0.02, 0.06, rng.uniform(0, 0.12), 0.4), 1.0):
        objects.fill(facets(rng, centre, radius, rng.uniform(1, 1.5), int(rng.integers(6, 10))), 3)
    for centre, radius in places(rng, size, radii(rng, size, 0.06, 0.16, rng.uniform(0.05, 0.3), 0.35), 0.8):
        objects.put(_plant(rng, size, centre, radius, slender=False), 1)
    for centre, radius in places(rng, size, radii(rng, size, 0.08, 0.18, rng.uniform(0.0, 0.2), 0.35), 0.7):
        objects.put(_plant(rng, size, centre, radius, slender=True), 2)
    soil = rgb(0.42, 0.33, 0.25) * rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    clods = 1 + rng.uniform(0.12, 0.3) * noise(rng, size, rng.uniform(6, 30), 4)
    picture = painted(clods, soil)
    greens = rgb(0.3, 0.5, 0.18) * rng.uniform(0.75, 1.3, (4, 3)).astype(np.float32)
    greens[3] = rng.uniform(0.4, 0.7)  # stones
    kinds = np.asarray(objects.kinds)
    colour = objects.table(greens[kinds])
    depth = objects.depth()
    shade = (
        objects.varied(rng, 0.7, 1.2) * (0.8 + 0.25 * np.minimum(depth / 4, 1)) * (1 + 0.12 * noise(rng, size, 6, 3))
    )
    covered = (objects.labels_HW > 0)[..., None]
    shadow = blurred(np.roll(objects.labels_HW > 0, int(0.02 * size), (0, 1)), 0.01 * size)[..., None]
    return np.where(covered, colour * shade[..., None], picture * (1 - 0.35 * shadow)), objects


def _plant(rng: Rng, size: int, centre: np.ndarray, radius: float, slender: bool) -> np.ndarray:
    """A rosette of leaves, H W bool."""
    rosette = SceneObjects(size)
    leaves = int(rng.integers(3, 8)) if slender else int(rng.integers(2, 7))
    start = rng.uniform(0, 2 * np.pi)
    for leaf in range(leaves):
        angle = start + 2 * np.pi * leaf / leaves + rng.normal(0, 0.2)
        length = radius * rng.uniform(0.7, 1.2)
        width = length * (rng.uniform(0.06, 0.12) if slender else rng.uniform(0.35, 0.6))
        along = np.linspace(0, 1, 12)
        half = width * (np.sin(np.pi * along**0.8) if not slender else 1 - along**2) / 1.6 + 0.6
        bend = rng.normal(0, 0.2) * along**2 * length
        leaf_N2 = np.concatenate(
            [np.stack([along * length, bend + half], 1), np.stack([along * length, bend - half], 1)[::-1]]
        )
        rosette.fill(leaf_N2 @ turn(angle) + centre, 1)
    return rosette.labels_HW > 0


def endoscope(rng: Rng, size: int) -> Drawn:
    """Wet tissue with swellings (1), a straight instrument (2), specular light and a dark frame."""
    objects = SceneObjects(size)
    for centre, radius in places(rng, size, radii(rng, size, 0.06, 0.22, rng.uniform(0.05, 0.25)), 1.0):
        objects.fill(blob(rng, centre, radius, 1.3, 0.12), 1)
    if rng.random() < 0.5:
        objects.fill(
            rod(rng, rng.uniform(0, size, 2), size * rng.uniform(0.5, 1.2), size * rng.uniform(0.04, 0.1), 0.0), 2
        )
    depth = objects.depth()
    folds = noise(rng, size, size / 4, 3)
    height = 2 * folds + objects.of(1) * objects.dome(depth, 0.6) * objects.varied(rng, 8, 18)
    down, right = np.gradient(blurred(height, 0.012 * size))
    relief = np.tanh(1.5 * (right + down) * size / 256)
    flesh = rgb(0.75, 0.36, 0.3) * rng.uniform(0.7, 1.25, 3).astype(np.float32)
    veins = np.clip(noise(rng, size, size / 10, 3, stretch=3), 0, 2)
    change = objects.of(1) * objects.varied(rng, -0.1, 0.22)
    picture = painted(0.75 + 0.25 * relief + 0.05 * folds + change, flesh) - painted(0.05 * veins, rgb(0.3, 1, 1))
    steel = grey(0.5 + 0.2 * np.sin(depth / max(float(depth.max()), 1) * 3) + 0.05 * noise(rng, size, 10))
    picture = np.where(objects.of(2)[..., None], steel, picture)
    glints = blurred((noise(rng, size, size / 25, 2) + 1.2 * relief) > rng.uniform(2.4, 3.2), 0.8)
    picture = picture + grey(0.8 * np.clip(glints, 0, 1))
    return picture * np.clip(1.15 - rng.uniform(0.3, 0.8) * vignette(rng, size), 0, 1.2)[..., None], objects


def patterns(rng: Rng, size: int) -> Drawn:
    """Objects of up to three kinds that differ from the ground, and from each other, mostly by texture."""
    objects = SceneObjects(size)
    kinds = int(rng.integers(1, 4))
    for kind in range(1, kinds + 1):
        shape = str(rng.choice(["round", "facets", "rod", "rough"]))
        sizes = radii(rng, size, 0.035, 0.2, rng.uniform(0.08, 0.3), 0.3)
        for centre, radius in places(rng, size, sizes, rng.choice([0.6, 1.0]), rng.uniform(0, 0.5)):
            objects.fill(_particle(rng, shape, centre, radius), kind)
    base = rng.uniform(0.3, 0.7, 3).astype(np.float32)
    difference = rng.choice([0.04, 0.12, 0.3], p=[0.4, 0.35, 0.25])
    where = np.asarray(objects.kinds)[objects.labels_HW]
    picture = np.zeros((size, size, 3), np.float32)
    for kind in range(kinds + 1):
        colour = base + difference * rng.normal(0, 1, 3).astype(np.float32)
        texture = noise(
            rng, size, np.exp(rng.uniform(np.log(2.5), np.log(25))), int(rng.integers(1, 4)), rng.choice([1, 1, 3, 8])
        )
        if rng.random() < 0.25:
            texture = np.sign(texture)
        stuff = colour + rng.uniform(0.03, 0.14) * texture[..., None] * rng.uniform(0.6, 1.4, 3).astype(np.float32)
        picture = np.where((where == kind)[..., None], stuff, picture)
    outline = np.exp(-objects.depth() / 1.2) * (objects.labels_HW > 0)
    picture += grey(rng.choice([0, 0, -0.2, 0.2]) * outline + objects.varied(rng, -0.06, 0.06))
    return picture + grey(0.01 * speckle(rng, size)), objects


def bubbles(rng: Rng, size: int) -> Drawn:
    """Transparent droplets (1) that show only by their rims, and opaque grains (2)."""
    objects = SceneObjects(size)
    for centre, radius in places(rng, size, radii(rng, size, 0.03, 0.13, rng.uniform(0.15, 0.5), 0.45), 1.0, 0.6):
        objects.fill(blob(rng, centre, radius, 1.0, 0.01), 1)
    for centre, radius in places(rng, size, radii(rng, size, 0.015, 0.05, rng.uniform(0, 0.08), 0.4), 0.8):
        objects.fill(blob(rng, centre, radius, 1.3, 0.25), 2)
    depth, unit = objects.depth(), size / 256 * rng.uniform(0.8, 2)
    ground = rng.uniform(0.4, 0.8) + rng.uniform(0.02, 0.07) * noise(rng, size, rng.uniform(6, 40), 3)
    dark = np.exp(-((depth / (1.5 * unit)) ** 2)) * objects.of(1)
    bright = np.exp(-(((depth - 3.5 * unit) / (1.3 * unit)) ** 2)) * objects.of(1)
    middle = objects.dome(depth, 1.0) * objects.of(1)
    picture = ground - rng.uniform(0.15, 0.45) * dark + rng.uniform(0, 0.3) * bright + rng.uniform(-0.1, 0.15) * middle
    picture = np.where(objects.of(2), objects.varied(rng, 0.1, 0.4) * (1 + 0.2 * noise(rng, size, 5, 2)), picture)
    return painted(picture, 1 + rng.uniform(-0.3, 0.15, 3) * (rng.random() < 0.6)), objects
