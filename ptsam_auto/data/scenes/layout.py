"""What is where: outlines drawn into a label map, each instance with its kind.

Families place objects here first and shade the whole map afterwards, which keeps a scene at a few milliseconds.
"""

# H W  a scene's size in px (square)   N  points of an outline, x before y, in px

import cv2
import numpy as np

from ptsam_auto.data.scenes.fields import Rng, warped

SMALLEST_PX = 12  # an instance with fewer visible pixels cannot be meant by anyone


class Layout:
    """A growing label map; later objects lie on top of earlier ones.

    Attributes:
        labels_HW: int32, 0 is ground.
        kinds: kinds[label] is the label's kind, from 1; kinds[0] is 0.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.labels_HW = np.zeros((size, size), np.int32)
        self.kinds = [0]

    def fill(self, outline_N2: np.ndarray, kind: int) -> None:
        """Draw one instance from its closed outline."""
        self.kinds.append(kind)
        points = np.round(outline_N2 * 16).astype(np.int32)
        cv2.fillPoly(self.labels_HW, [points], len(self.kinds) - 1, lineType=cv2.LINE_8, shift=4)

    def put(self, mask_HW: np.ndarray, kind: int) -> None:
        """Draw one instance from its mask."""
        self.kinds.append(kind)
        self.labels_HW[mask_HW] = len(self.kinds) - 1

    def of(self, *kinds: int) -> np.ndarray:
        """Where objects of these kinds lie, H W bool."""
        return np.isin(np.asarray(self.kinds), kinds)[self.labels_HW]

    def table(self, values: np.ndarray) -> np.ndarray:
        """One value (or colour) a label, spread over the map; the ground gets values[0]."""
        return values[self.labels_HW]

    def varied(self, rng: Rng, low: float, high: float) -> np.ndarray:
        """H W float32: one uniform number an instance, 0 on the ground."""
        values = rng.uniform(low, high, len(self.kinds)).astype(np.float32)
        values[0] = 0
        return self.table(values)

    def depth(self) -> np.ndarray:
        """H W float32: px from each object pixel to its own instance's edge, 0 on the ground."""
        labels_HW = self.labels_HW
        inside = (labels_HW > 0).astype(np.uint8)
        differs = labels_HW[:, 1:] != labels_HW[:, :-1]
        inside[:, 1:][differs] = 0
        differs = labels_HW[1:] != labels_HW[:-1]
        inside[1:][differs] = 0
        return cv2.distanceTransform(inside, cv2.DIST_L2, 3)

    def dome(self, depth_HW: np.ndarray, roundness: float = 0.5) -> np.ndarray:
        """H W, 0 at an instance's edge to 1 at its middle, steep at the edge below roundness 1."""
        deepest = np.zeros(len(self.kinds), np.float32)
        np.maximum.at(deepest, self.labels_HW.ravel(), depth_HW.ravel())
        return (depth_HW / np.maximum(self.table(deepest), 1.0)) ** np.float32(roundness)

    def finished(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels (H W int32, 1 to n) and their kinds (n + 1, int32), without what is too small to be meant."""
        areas = np.bincount(self.labels_HW.ravel(), minlength=len(self.kinds))
        kept = areas >= SMALLEST_PX
        kept[0] = False
        new = np.zeros(len(self.kinds), np.int32)
        new[kept] = np.arange(1, kept.sum() + 1)
        kinds = np.concatenate([[0], np.asarray(self.kinds, np.int32)[kept]])
        return new[self.labels_HW], kinds.astype(np.int32)


def blob(rng: Rng, centre: np.ndarray, radius: float, aspect: float = 1.0, wobble: float = 0.1) -> np.ndarray:
    """A smooth closed outline, N 2: an ellipse (long over short side is `aspect`) with waves of strength `wobble`."""
    theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    r = np.ones_like(theta)
    for wave in (2, 3, 4, 5):
        r += wobble / (wave - 1) * rng.normal() * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    r = np.maximum(r, 0.25) * radius
    points = np.stack([r * np.cos(theta) * np.sqrt(aspect), r * np.sin(theta) / np.sqrt(aspect)], 1)
    return points @ turn(rng.uniform(0, np.pi)) + centre


def facets(rng: Rng, centre: np.ndarray, radius: float, aspect: float = 1.0, corners: int = 6) -> np.ndarray:
    """A convex polygon, N 2, as crystals and stones have."""
    theta = np.sort(
        rng.uniform(0, 2 * np.pi) + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    )
    points = radius * np.stack([np.cos(theta) * np.sqrt(aspect), np.sin(theta) / np.sqrt(aspect)], 1)
    return points @ turn(rng.uniform(0, np.pi)) + centre


def spindle(rng: Rng, centre: np.ndarray, radius: float, arms: int) -> np.ndarray:
    """A cell with `arms` pointed processes (2 is a spindle), N 2, as adherent cells have."""
    theta = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    r = np.full_like(theta, 0.55) + 0.06 * rng.normal() * np.cos(2 * theta + rng.uniform(0, 6))
    start = rng.uniform(0, 2 * np.pi)
    for arm in range(arms):
        direction = start + 2 * np.pi * arm / arms + rng.normal(0, 0.25)
        away = np.angle(np.exp(1j * (theta - direction)))
        r += rng.uniform(0.5, 1.5) * np.exp(-np.abs(away) / rng.uniform(0.18, 0.4))
    bend = rng.normal(0, 0.25)
    points = radius * np.stack([r * np.cos(theta + bend * r), r * np.sin(theta + bend * r)], 1)
    return points + centre


def rod(rng: Rng, centre: np.ndarray, length: float, width: float, bend: float = 0.3) -> np.ndarray:
    """A bent bar with round ends, N 2."""
    along = np.linspace(-0.5, 0.5, 14)
    heading = rng.normal(0, bend) * 2 * along
    spine = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0) * length / 14
    spine -= spine.mean(0)
    across = np.stack([-np.sin(heading), np.cos(heading)], 1) * width / 2
    across *= np.sqrt(np.clip(1 - (2 * along) ** 8, 0.15, 1))[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]]) @ turn(rng.uniform(0, np.pi)) + centre


def turn(angle: float) -> np.ndarray:
    """The 2 x 2 matrix that turns row vectors by `angle` radians."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def places(
    rng: Rng, size: int, radii: np.ndarray, room: float = 1.0, clumped: float = 0.0
) -> list[tuple[np.ndarray, float]]:
    """Where to put objects: (centre x y, radius) for as many of the radii as fit.

    Args:
        rng: drawn from in a fixed order.
        size: px; centres lie inside the image.
        radii: px.
        room: smallest distance between two objects over the sum of their radii; 0 lets them overlap.
        clumped: probability that an object is put against an earlier one.
    """
    taken = np.empty((len(radii), 3))
    count = 0
    for radius in radii:
        for _ in range(6):
            if count and rng.random() < clumped:
                near = taken[rng.integers(count)]
                angle = rng.uniform(0, 2 * np.pi)
                centre = near[:2] + (near[2] + radius) * max(room, 0.6) * 1.02 * np.array(
                    [np.cos(angle), np.sin(angle)]
                )
            else:
                centre = rng.uniform(0, size, 2)
            gaps = np.hypot(*(taken[:count, :2] - centre).T) - room * (taken[:count, 2] + radius)
            if np.all(gaps >= 0) and np.all((centre >= 0) & (centre < size)):
                taken[count] = (*centre, radius)
                count += 1
                break
    return [(row[:2], float(row[2])) for row in taken[:count]]


def partition(rng: Rng, size: int, cells: int, wobble: float) -> np.ndarray:
    """The whole map cut into about `cells` cells with borders that wobble by `wobble` px: H W int32 from 1."""
    seeds = np.full((size, size), 255, np.uint8)
    spread = size / np.sqrt(cells)
    for centre, radius in places(rng, size, spread * rng.uniform(0.1, 0.45, cells), 0.9):
        cv2.circle(seeds, (int(centre[0]), int(centre[1])), max(1, int(0.6 * radius)), 0, -1)
    _, labels_HW = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    if wobble > 0:
        labels_HW = warped(rng, labels_HW, spread / 2, wobble, nearest=True)
    return labels_HW.astype(np.int32)


def to_border(labels_HW: np.ndarray) -> np.ndarray:
    """H W float32: px to the nearest place where two labels meet."""
    same = np.ones(labels_HW.shape, np.uint8)
    same[:, 1:][labels_HW[:, 1:] != labels_HW[:, :-1]] = 0
    same[1:][labels_HW[1:] != labels_HW[:-1]] = 0
    if same.all():
        return np.full(labels_HW.shape, float(labels_HW.shape[0]), np.float32)
    return cv2.distanceTransform(same, cv2.DIST_L2, 3)


def walk(rng: Rng, start: np.ndarray, heading: float, length: float, wander: float, step: float = 4.0) -> np.ndarray:
    """A wandering path, N 2; `wander` is the heading's change in radians over 10 px."""
    count = max(3, int(length / step))
    headings = heading + np.cumsum(rng.normal(0, wander * np.sqrt(step / 10), count))
    return start + np.cumsum(step * np.stack([np.cos(headings), np.sin(headings)], 1), 0)


def stroke(mask_HW: np.ndarray, path_N2: np.ndarray, width: float, taper: float = 0.0) -> None:
    """Draw a path into a uint8 mask as 255; its width falls by the share `taper` towards its end."""
    points = np.round(path_N2 * 16).astype(np.int32)
    pieces = np.array_split(np.arange(len(points)), min(6, len(points)) if taper > 0 else 1)
    for number, piece in enumerate(pieces):
        thickness = max(1, round(width * (1 - taper * number / max(len(pieces) - 1, 1))))
        line = points[piece[0] : piece[-1] + 2]
        cv2.polylines(mask_HW, [line], False, 255, thickness, cv2.LINE_8, shift=4)
