"""Regions (polygons, run lengths, small masks) and the function that draws them into a mask.

A mask is the union of its regions. Each region is converted to toggles: positions, down the columns, at which
foreground starts and ends. So polygons, run lengths and small masks are combined without one image for each, and the
numbers of a polygon are checked before the C code rasterises it.
"""

# H W  rows and columns, px;  N  points, x to the right and y down, where pixel i spans i to i + 1

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from ptsam_auto.data.formats.run_lengths import counts_of, toggles_of

MARGIN = 0.25  # maximum extent of an outline beyond the image, as a fraction of the image's longer side
LEAST_MARGIN = 16  # px
LONGEST_OUTLINE = 4_000_000  # px, because the rasteriser's memory grows with the length
CORNERS_OF_A_CURVE = 360


class Region(Protocol):
    """Area of an annotation."""

    def complaint(self, height: int, width: int) -> str | None:
        """Return the reason why it cannot be drawn into an image of this size, or None."""

    def toggles(self, height: int, width: int) -> np.ndarray:
        """Return where foreground starts and ends, alternately; call it only if there is no complaint."""

    def key(self) -> tuple[Any, ...]:
        """Return a key that is the same for equal regions."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """The area that an odd number of closed rings encloses: a filled outline, or one with holes.

    Args:
        rings: Rings, each N 2, float64, finite, at least three points.
        relative: True if the points are fractions of the image's width and height.
    """

    rings: tuple[np.ndarray, ...]
    relative: bool = False

    def complaint(self, height: int, width: int) -> str | None:
        """Return the reason why it cannot be drawn into an image of this size, or None."""
        margin = max(LEAST_MARGIN, MARGIN * max(height, width))
        for points in self._scaled(height, width):
            near = (points >= -margin) & (points <= np.array([width, height]) + margin)
            if not near.all():  # this includes NaN
                x, y = points[np.flatnonzero(~near.all(axis=1))[0]]
                return f"its point ({x:g}, {y:g}) is far outside the image of {width} x {height} px"
            if np.abs(points - np.roll(points, 1, axis=0)).sum() > LONGEST_OUTLINE:
                return f"its outline is longer than {LONGEST_OUTLINE:,} px"
        return None

    def toggles(self, height: int, width: int) -> np.ndarray:
        """Return where foreground starts and ends, alternately."""
        flat = [points.ravel() for points in self._scaled(height, width)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from pycocotools with numpy 2
            drawn = coco_mask.frPyObjects(flat, height, width)
        rings = [toggles_of(counts_of(ring["counts"].decode(), height * width)) for ring in drawn]
        return np.sort(np.concatenate(rings))

    def key(self) -> tuple[Any, ...]:
        """Return a key that is the same for equal regions."""
        return ("polygon", *(points.tobytes() for points in self.rings))

    def _scaled(self, height: int, width: int) -> tuple[np.ndarray, ...]:
        if not self.relative:
            return self.rings
        with np.errstate(over="ignore"):  # an infinite point is reported as far outside
            return tuple(points * (width, height) for points in self.rings)


@dataclass(frozen=True, eq=False)
class Runs:
    """Run lengths down the columns of the whole image.

    Args:
        counts: Run lengths, background first, int64, none negative.
        height: Height of the image of these run lengths, px.
        width: Width of the image of these run lengths, px.
    """

    counts: np.ndarray
    height: int
    width: int

    def complaint(self, height: int, width: int) -> str | None:
        """Return the reason why it cannot be drawn into an image of this size, or None."""
        if (height, width) == (self.height, self.width) and self.counts.sum() == height * width:
            return None
        return f"it was made for {self.width} x {self.height} px, but the image is {width} x {height} px"

    def toggles(self, height: int, width: int) -> np.ndarray:
        """Return where foreground starts and ends, alternately."""
        return toggles_of(self.counts)

    def key(self) -> tuple[Any, ...]:
        """Return a key that is the same for equal regions."""
        return ("runs", self.counts.tobytes())


@dataclass(frozen=True, eq=False)
class Patch:
    """A small mask at a position in the image.

    Args:
        mask: Small mask, H W, bool.
        top: Row of its first row in the image, px; any part of it may lie outside the image.
        left: Column of its first column in the image, px.
    """

    mask: np.ndarray
    top: int = 0
    left: int = 0

    def complaint(self, height: int, width: int) -> str | None:
        """Return the reason why it cannot be drawn into an image of this size, or None."""
        margin = max(LEAST_MARGIN, MARGIN * max(height, width))
        bottom, right = self.top + self.mask.shape[0], self.left + self.mask.shape[1]
        if min(self.top, self.left) >= -margin and bottom <= height + margin and right <= width + margin:
            return None
        return f"it reaches far outside the image of {width} x {height} px"

    def toggles(self, height: int, width: int) -> np.ndarray:
        """Return where foreground starts and ends, alternately."""
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = max(0, height - self.top), max(0, width - self.left)  # rows and columns of the small mask
        inside = self.mask[top - self.top : bottom, left - self.left : right]
        canvas = np.zeros((inside.shape[1], height + 2), np.int8)  # columns, each between two pixels of background
        canvas[:, 1 + top : 1 + top + inside.shape[0]] = inside.T
        columns, rows = np.nonzero(np.diff(canvas, axis=1))
        return (left + columns) * height + rows

    def key(self) -> tuple[Any, ...]:
        """Return a key that is the same for equal regions."""
        return ("patch", self.top, self.left, self.mask.shape, self.mask.tobytes())


def draw(regions: Iterable[Region], height: int, width: int) -> np.ndarray:
    """Return the union of the regions.

    Args:
        regions: Regions that can be drawn into an image of this size.
        height: H, height of the image, px.
        width: W, width of the image, px.

    Returns:
        H W, bool.

    Raises:
        ValueError: A region cannot be drawn into an image of this size.
    """
    change = np.zeros(height * width + 1, np.int32)
    for region in regions:
        if complaint := region.complaint(height, width):
            raise ValueError(complaint)
        toggles = region.toggles(height, width)
        np.add.at(change, toggles[0::2], 1)
        np.add.at(change, toggles[1::2], -1)
    covered = np.cumsum(change[:-1]) > 0
    return np.ascontiguousarray(covered.reshape(width, height).T)


def points_of(numbers: Any) -> np.ndarray:  # noqa: ANN401 - JSON
    """Return the points of a ring.

    Args:
        numbers: Coordinates x y x y ..., or pairs of x and y.

    Returns:
        N 2, float64, finite; N may be too small for an area, see `is_flat`.

    Raises:
        ValueError: They are not coordinates; the text describes the problem.
    """
    if not isinstance(numbers, list | tuple):
        raise ValueError("expected a list of coordinates")
    if numbers and isinstance(numbers[0], list | tuple):
        if not all(isinstance(point, list | tuple) and len(point) == 2 for point in numbers):
            raise ValueError("expected two coordinates a point")
        numbers = [number for point in numbers for number in point]
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} coordinates; expected two a point")
    if {int, float}.issuperset(map(type, numbers)):
        with contextlib.suppress(OverflowError):
            points = np.array(numbers, np.float64).reshape(-1, 2)
            if np.isfinite(points).all():
                return points
    return np.array([finite(number) for number in numbers], np.float64).reshape(-1, 2)  # names the number


def finite(number: Any) -> float:  # noqa: ANN401 - JSON
    """Return a coordinate or length; raises ValueError if it is not a finite number."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"a coordinate is {_short(number)}; expected a number")
    try:
        value = float(number)
    except OverflowError:
        value = np.inf
    if not np.isfinite(value):
        raise ValueError(f"a coordinate is {_short(value)}; expected a finite number")
    return value


def is_flat(points: np.ndarray) -> bool:
    """Return whether a ring has no area: fewer than three different points, or all of them on one line."""
    if len(points) < 3:
        return True
    with np.errstate(over="ignore", invalid="ignore"):  # such points are reported as far outside when they are drawn
        away = points - points[0]
        x, y = away[np.abs(away).sum(axis=1).argmax()]
        distance = np.abs(away[:, 0] * y - away[:, 1] * x)  # from the line to the farthest point, times its length
        return bool((distance <= 1e-9 * np.hypot(x, y)).all())


def polygon(rings: Sequence[Any], *, relative: bool = False) -> Polygon | None:
    """Return the rings as a region, or None if none of them has an area; raises ValueError as `points_of` does."""
    sound = tuple(points for ring in rings if not is_flat(points := points_of(ring)))
    return Polygon(sound, relative) if sound else None


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Polygon | None:
    """Return an ellipse from its centre, radii (px) and clockwise rotation, or None if it has no area."""
    around = np.linspace(0, 2 * np.pi, CORNERS_OF_A_CURVE, endpoint=False)
    turn = np.deg2rad(degrees)
    with np.errstate(over="ignore", invalid="ignore"):  # points that are not finite are reported as far outside
        flat = np.stack([abs(radius_x) * np.cos(around), abs(radius_y) * np.sin(around)], axis=1)
        turned = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points = turned + np.array([x, y])
    return None if min(abs(radius_x), abs(radius_y)) == 0 or is_flat(points) else Polygon((points,))


def lies_inside(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Return whether all points of one ring lie inside another (N 2 each)."""
    if (inner.min(axis=0) < outer.min(axis=0)).any() or (inner.max(axis=0) > outer.max(axis=0)).any():
        return False
    start, end = outer, np.roll(outer, -1, axis=0)
    for x, y in inner:
        crossed = (start[:, 1] > y) != (end[:, 1] > y)
        rise = np.where(crossed, end[:, 1] - start[:, 1], 1.0)
        at = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / rise
        if np.count_nonzero(crossed & (at > x)) % 2 == 0:
            return False
    return True


def _short(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 20 else text[:20] + "..."
