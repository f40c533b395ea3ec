"""Scenes as light and electron microscopes show them: cells, nuclei, tissue, membranes.

Every scene type is a function of (rng, size) that returns the picture (H W 3 float32, about 0 to 1) and its objects.
"""

# H W  a scene's size in px (square)

import numpy as np

from nano.scenes.shapes import SceneObjects, partition, rod, to_border
from nano.scenes.textures import grey, painted, speckle
from ptsam_auto.data import render
from ptsam_auto.data.object_map import blob, places, spindle
from ptsam_auto.data.random_fields import Rng, blurred, noise

Drawn = tuple[np.ndarray, SceneObjects]


def radii(rng: Rng, size: int, low: float, high: float, cover: float, spread: float = 0.25) -> np.ndarray:
    """Radii in px of as many objects as cover the share `cover`; their typical size is `low` to `high` of the width."""
    typical = size * np.exp(rng.uniform(np.log(low), np.log(high)))
    count = int(np.clip(cover * size**2 / (np.pi * typical**2), 2, 90))
    return typical * np.exp(rng.normal(0, spread, count))


def fluorescence(rng: Rng, size: int) -> Drawn:
    """Nuclei (1), small foci or debris (2) and sometimes cell bodies around the nuclei (3) on dark ground."""
    objects = SceneObjects(size)
    spots = places(
        rng, size, radii(rng, size, 0.025, 0.09, rng.uniform(0.08, 0.4)), rng.choice([0.75, 1.0]), rng.uniform(0, 0.7)
    )
    bodies = rng.random() < 0.35
    if bodies:
        for centre, radius in spots:
            objects.fill(
                blob(rng, centre + rng.normal(0, 0.3, 2) * radius, radius * rng.uniform(1.6, 2.2), 1.3, 0.2), 3
            )
    aspect, wobble = rng.uniform(1, 1.8), rng.uniform(0.02, 0.12)
    for centre, radius in spots:
        objects.fill(blob(rng, centre, radius, aspect * rng.uniform(0.85, 1.15), wobble), 1)
    dots = np.full(int(rng.choice([0, 8, 25])), size * rng.uniform(0.008, 0.018)) * rng.uniform(0.6, 1.4)
    for centre, radius in places(rng, size, dots, 1.0):
        objects.fill(blob(rng, centre, max(radius, 1.6), 1.2, 0.1), 2)
    return _glowing(rng, size, objects, bodies), objects


def _glowing(rng: Rng, size: int, objects: SceneObjects, bodies: bool) -> np.ndarray:
    dome = objects.dome(objects.depth(), rng.uniform(0.15, 0.6))
    chromatin = 1 + rng.uniform(0.05, 0.3) * noise(rng, size, rng.uniform(3, 9), 2)
    bright = objects.varied(rng, rng.uniform(0.2, 0.6), 0.95) * dome * chromatin
    nuclei, foci = bright * objects.of(1), blurred(objects.varied(rng, 0.5, 1.0) * objects.of(2), 0.8)
    haze = blurred(nuclei + foci, 0.04 * size)
    dark = rng.uniform(0.02, 0.12) * (1 + 0.4 * noise(rng, size, size / 3, 2))
    if bodies or rng.random() < 0.4:
        cells = (
            objects.varied(rng, 0.2, 0.6) * objects.of(3) * (1 + 0.35 * noise(rng, size, 6, 2, stretch=3)) * dome**0.3
        )
        colours = np.eye(3)[rng.permutation(3)] * 0.9 + 0.1
        return (
            painted(nuclei + 0.4 * haze, colours[0])
            + painted(foci, colours[1])
            + painted(cells, colours[2])
            + grey(dark)
        )
    return grey(dark + nuclei + 0.9 * foci + rng.uniform(0.1, 0.8) * haze)


def adherent_cells(rng: Rng, size: int) -> SceneObjects:
    """Spread or rounded cells (1), dead bright round ones (2) and specks (3), for phase contrast and DIC."""
    objects = SceneObjects(size)
    form = rng.choice(["spindle", "round", "flat"])
    sizes = radii(rng, size, 0.03, 0.1, rng.uniform(0.12, 0.55))
    for centre, radius in places(
        rng, size, sizes, 0.7 if form == "spindle" else rng.choice([0.7, 0.95]), rng.uniform(0.2, 0.9)
    ):
        if form == "spindle":
            objects.fill(spindle(rng, centre, radius, int(rng.choice([2, 2, 3, 4]))), 1)
        else:
            objects.fill(blob(rng, centre, radius, rng.uniform(1, 1.9), 0.06 if form == "round" else 0.2), 1)
    for centre, radius in places(rng, size, np.full(int(rng.integers(0, 9)), size * rng.uniform(0.015, 0.035)), 1.0):
        objects.fill(blob(rng, centre, radius, 1.1, 0.03), 2)
    for centre, _ in places(rng, size, np.full(int(rng.choice([0, 6, 20])), 3.0), 1.0):
        objects.fill(blob(rng, centre, rng.uniform(1.6, 3) * size / 256, 1.4, 0.2), 3)
    return objects


def phase_contrast(rng: Rng, size: int) -> Drawn:
    """Cells of nearly the ground's grey that show by halo, dark rim and granules."""
    objects = adherent_cells(rng, size)
    return grey(render.phase_contrast(rng, objects, strength=rng.uniform(0.6, 1.3))), objects


def dic(rng: Rng, size: int) -> Drawn:
    """Differential interference contrast: the relief of cells lit from one side."""
    objects = adherent_cells(rng, size)
    depth = objects.depth()
    height = objects.dome(depth, 0.5) * objects.varied(rng, 0.6, 1.2) * np.minimum(depth, 0.06 * size)
    height += 0.5 * noise(rng, size, size / 50, 2) * (objects.labels_HW > 0)
    height = blurred(height + 0.2 * noise(rng, size, 4, 2), 0.8 * size / 256)
    down, right = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    relief = np.cos(angle) * right + np.sin(angle) * down
    picture = (
        rng.uniform(0.4, 0.6) + rng.uniform(0.1, 0.22) * np.tanh(relief) * 1.4 + 0.02 * noise(rng, size, size / 2, 2)
    )
    return grey(picture), objects


def tissue(rng: Rng, size: int) -> Drawn:
    """Stained section: nuclei (1), pale lumens (2), red blood cells (3) in pink fibrous ground."""
    objects = SceneObjects(size)
    if rng.random() < 0.6:
        for centre, radius in places(rng, size, radii(rng, size, 0.06, 0.14, rng.uniform(0.05, 0.2)), 1.5):
            objects.fill(blob(rng, centre, radius, 1.4, 0.25), 2)
    if rng.random() < 0.5:
        for centre, radius in places(rng, size, radii(rng, size, 0.018, 0.025, 0.03), 0.9, 0.8):
            objects.fill(blob(rng, centre, radius, 1.1, 0.05), 3)
    nuclei = places(rng, size, radii(rng, size, 0.018, 0.06, rng.uniform(0.1, 0.35)), 0.9, rng.uniform(0, 0.5))
    lumen = objects.of(2)
    aspect = rng.uniform(1, 2.2)
    for centre, radius in nuclei:
        if not lumen[int(centre[1]), int(centre[0])]:
            objects.fill(blob(rng, centre, radius, aspect * rng.uniform(0.8, 1.3), 0.08), 1)
    return _stained(rng, size, objects), objects


def _stained(rng: Rng, size: int, objects: SceneObjects) -> np.ndarray:
    """Absorbing dyes: light falls exponentially with each dye's amount."""
    fibres = 0.5 + 0.25 * noise(rng, size, rng.uniform(5, 16), 3, stretch=rng.uniform(1, 5))
    eosin = np.clip(0.35 + 0.35 * fibres + 0.12 * noise(rng, size, size / 3), 0.05, 2)
    edge = np.exp(-objects.depth() / 1.5)
    inside = objects.of(1).astype(np.float32)
    nucleus = inside * objects.varied(rng, 0.45, 1.1) * (0.8 + 0.5 * edge + 0.25 * noise(rng, size, 4, 2))
    eosin = np.where(objects.of(2), 0.04, eosin) + 0.9 * objects.of(3) * objects.varied(rng, 0.7, 1.1)
    haematoxylin = blurred(nucleus, 0.7) + 0.08 * np.clip(noise(rng, size, size / 6, 3), 0, 3)
    dye_a = np.array([0.35, 0.85, 0.55]) * rng.uniform(0.7, 1.2, 3)
    dye_b = np.array([1.0, 1.1, 0.45]) * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.3:  # brown immunostain in place of pink
        dye_a, dye_b = dye_b * 0.5, np.array([0.5, 0.9, 1.4])
    light = np.exp(-painted(0.6 * eosin, dye_a) - painted(haematoxylin, dye_b))
    return (0.95 * light).astype(np.float32)


def electron(rng: Rng, size: int) -> Drawn:
    """Electron micrograph: one net of membranes (1), cell interiors (2), mitochondria (3), vesicles (4)."""
    objects = SceneObjects(size)
    count = int(np.exp(rng.uniform(np.log(12), np.log(140))))
    cells_HW = partition(rng, size, count, rng.uniform(0.02, 0.12) * size / np.sqrt(count) + 1)
    to_edge = to_border(cells_HW)
    objects.labels_HW[:] = cells_HW
    objects.kinds += [2] * int(cells_HW.max())
    spread = size / np.sqrt(count)
    half = rng.uniform(0.8, 2.2) * size / 256
    ground = rng.uniform(0.5, 0.7) + objects.varied(rng, -0.08, 0.08)
    _organelles(rng, objects, to_edge, spread)
    inner = objects.depth()
    thickness = half * (1 + 0.25 * noise(rng, size, size / 12))
    objects.put(to_edge < np.maximum(thickness, 0.7), 1)
    picture = ground + 0.05 * noise(rng, size, 5, 3) + 0.03 * noise(rng, size, size / 3)
    cristae = noise(rng, size, 3.5 * size / 256, 1, stretch=4)
    dark = rng.uniform(0.12, 0.28)
    picture -= objects.of(3) * (dark + 0.07 * cristae + 0.15 * np.exp(-inner / 1.2))
    picture -= objects.of(4) * (rng.uniform(0.5, 0.9) * np.exp(-((inner - 1) ** 2)) - 0.1) * 0.4
    fading = np.clip(0.85 + 0.25 * noise(rng, size, size / 10), 0.35, 1.1)  # membranes cut at a slant lose contrast
    picture -= rng.uniform(0.25, 0.45) * fading * np.exp(-((to_edge / (thickness + 0.5)) ** 2))
    picture += rng.uniform(0.02, 0.08) * speckle(rng, size, 0.6)
    return grey(picture), objects


def _organelles(rng: Rng, objects: SceneObjects, to_edge: np.ndarray, spread: float) -> None:
    for kind, share, low, high in ((3, rng.uniform(0, 1.2), 0.14, 0.26), (4, rng.choice([0.0, 3.0]), 0.04, 0.07)):
        number = int(min(share * (objects.size / spread) ** 2, 60))
        for centre, radius in places(rng, objects.size, spread * rng.uniform(low, high, number), 1.2):
            if to_edge[int(centre[1]), int(centre[0])] > 0.8 * radius and radius > 1.8:
                aspect = rng.uniform(1.1, 2.0) if kind == 3 else 1.0
                objects.fill(blob(rng, centre, radius, aspect, 0.08), kind)


def bacteria(rng: Rng, size: int) -> Drawn:
    """Rods (1) and cocci (2), dark or bright, single or in chains, on slightly dirty ground."""
    objects = SceneObjects(size)
    width = size * rng.uniform(0.012, 0.035)
    number = int(rng.integers(10, 70))
    for centre, _ in places(rng, size, np.full(number, 1.6 * width), rng.uniform(0.5, 1.0), rng.uniform(0, 0.8)):
        objects.fill(rod(rng, centre, width * rng.uniform(2, 5), width, 0.4), 1)
    for centre, radius in places(rng, size, np.full(int(rng.choice([0, 12, 30])), width * 0.7), 0.9, 0.8):
        objects.fill(blob(rng, centre, max(radius, 2.1), 1.05, 0.03), 2)
    depth, present = objects.depth(), (objects.labels_HW > 0).astype(np.float32)
    sign = rng.choice([-1, 1])
    body = objects.dome(depth, rng.uniform(0.2, 0.7)) * objects.varied(rng, 0.5, 1.0)
    halo = blurred(present, width * 0.4) * (1 - present)
    picture = 0.5 + rng.uniform(0.1, 0.3) * sign * body - rng.uniform(0, 0.25) * sign * halo
    picture += 0.04 * noise(rng, size, size / 3, 3) + 0.02 * noise(rng, size, 6, 2)
    tint = 1 + rng.uniform(-0.25, 0.25, 3) * (rng.random() < 0.4)
    return painted(picture, tint), objects
