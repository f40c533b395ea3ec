"""A label map for artificial images: objects are drawn from outlines, and each instance has a kind.

All objects are placed first and the complete map is shaded afterwards, which takes a few milliseconds per image.
"""

# H W  size of an image in px (square)   N  points of an outline, x before y, in px

import cv2
import numpy as np

from ptsam_auto.data.random_fields import Rng


class ObjectMap:
    """A label map; later objects cover earlier ones.

    Attributes:
        labels_HW: Label of each pixel, int32; 0 is background.
        kinds: Kind of each label, from 1; kinds[0] is 0.
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

    def of(self, *kinds: int) -> np.ndarray:
        """Return the mask of the objects of these kinds, H W bool."""
        return np.isin(np.asarray(self.kinds), kinds)[self.labels_HW]

    def table(self, values: np.ndarray) -> np.ndarray:
        """Map one value (or colour) per label to the pixels; the background has values[0]."""
        return values[self.labels_HW]

    def varied(self, rng: Rng, low: float, high: float) -> np.ndarray:
        """Return one uniform random number per instance, mapped to its pixels, H W float32; 0 in the background."""
        values = rng.uniform(low, high, len(self.kinds)).astype(np.float32)
        values[0] = 0
        return self.table(values)

    def depth(self) -> np.ndarray:
        """Return the distance in px of each pixel to the edge of its instance, H W float32; 0 in the background."""
        labels_HW = self.labels_HW
        inside = (labels_HW > 0).astype(np.uint8)
        differs = labels_HW[:, 1:] != labels_HW[:, :-1]
        inside[:, 1:][differs] = 0
        differs = labels_HW[1:] != labels_HW[:-1]
        inside[1:][differs] = 0
        return cv2.distanceTransform(inside, cv2.DIST_L2, 3)

    def dome(self, depth_HW: np.ndarray, roundness: float = 0.5) -> np.ndarray:
        """Return the normalised depth, H W, 0 at an instance's edge to 1 in its middle; steep at the edge below 1."""
        deepest = np.zeros(len(self.kinds), np.float32)
        np.maximum.at(deepest, self.labels_HW.ravel(), depth_HW.ravel())
        return (depth_HW / np.maximum(self.table(deepest), 1.0)) ** np.float32(roundness)


def blob(rng: Rng, centre: np.ndarray, radius: float, aspect: float = 1.0, wobble: float = 0.1) -> np.ndarray:
    """Return a smooth closed outline, N 2: an ellipse with the given aspect ratio and waves of strength `wobble`."""
    theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    r = np.ones_like(theta)
    for wave in (2, 3, 4, 5):
        r += wobble / (wave - 1) * rng.normal() * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    r = np.maximum(r, 0.25) * radius
    points = np.stack([r * np.cos(theta) * np.sqrt(aspect), r * np.sin(theta) / np.sqrt(aspect)], 1)
    return points @ turn(rng.uniform(0, np.pi)) + centre


def spindle(rng: Rng, centre: np.ndarray, radius: float, arms: int) -> np.ndarray:
    """Return the outline of an adherent cell with `arms` pointed processes (2 is a spindle), N 2."""
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


def turn(angle: float) -> np.ndarray:
    """Return the 2 x 2 matrix that rotates row vectors by `angle` radians."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def places(
    rng: Rng, size: int, radii: np.ndarray, room: float = 1.0, clumped: float = 0.0
) -> list[tuple[np.ndarray, float]]:
    """Return random positions of objects, (centre x y, radius), for as many of the radii as fit.

    Args:
        rng: Random generator.
        size: Size of the image, px; the centres lie inside the image.
        radii: Radii of the objects, px.
        room: Minimum distance of two objects, relative to the sum of their radii; 0 allows overlap.
        clumped: Probability that an object touches an earlier one.
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


def walk(rng: Rng, start: np.ndarray, heading: float, length: float, wander: float, step: float = 4.0) -> np.ndarray:
    """Return a random path, N 2; `wander` is the change of its direction in radians over 10 px."""
    count = max(3, int(length / step))
    headings = heading + np.cumsum(rng.normal(0, wander * np.sqrt(step / 10), count))
    return start + np.cumsum(step * np.stack([np.cos(headings), np.sin(headings)], 1), 0)


def stroke(mask_HW: np.ndarray, path_N2: np.ndarray, width: float, taper: float = 0.0) -> None:
    """Draw a path into a uint8 mask as 255; its width decreases by the fraction `taper` towards its end."""
    points = np.round(path_N2 * 16).astype(np.int32)
    pieces = np.array_split(np.arange(len(points)), min(6, len(points)) if taper > 0 else 1)
    for number, piece in enumerate(pieces):
        thickness = max(1, round(width * (1 - taper * number / max(len(pieces) - 1, 1))))
        line = points[piece[0] : piece[-1] + 2]
        cv2.polylines(mask_HW, [line], False, 255, thickness, cv2.LINE_8, shift=4)
