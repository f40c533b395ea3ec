"""Outlines of objects as polygons, whose corners are where ImageJ and QuPath expect them.

The upper left corner of the image is (0, 0), so the centre of the first pixel is (0.5, 0.5).
"""

# H W  rows and columns, px;  N  corners

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours


@dataclass(frozen=True)
class Outline:
    """The outline of one object.

    Args:
        number: Number of the object.
        ring: Outer corners, N 2, x and y in px; the first one is not repeated.
        holes: Corners of each hole.
    """

    number: int
    ring: np.ndarray
    holes: tuple[np.ndarray, ...] = ()

    def moved(self, down: int, before: int) -> "Outline":
        """Return the outline of an object of some rows of an image in the image, with its number there."""
        ring, *holes = (np.add(corners, (0, down)) for corners in (self.ring, *self.holes))
        return Outline(self.number + before, ring, tuple(holes))


def outlines(labels: np.ndarray) -> list[Outline]:
    """Return the outline of each object, in the order of their numbers.

    The outline passes halfway between the pixels of the object and those outside, so exactly the centres of the
    object's pixels are inside. Each object is connected through the sides of its pixels, as `separation.separated`
    makes them.

    Args:
        labels: Objects, H W, int32; 0 is background.
    """
    result = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = np.pad(labels[box] == number, 1)
        rings = [_corners(ring, box) for ring in find_contours(inside.astype(np.float32), 0.5, fully_connected="low")]
        rings.sort(key=lambda ring: -abs(_area(ring)))
        result.append(Outline(number, rings[0], tuple(rings[1:])))
    return result


def _corners(ring: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """Return the bends of a closed contour of a padded crop, in the coordinates of the image."""
    points = ring[:-1, ::-1] + (box[1].start - 0.5, box[0].start - 0.5)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return points[bends]


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
