"""Separates the foreground of a mask into objects: holes are filled, specks removed, and touching objects split.

Touching objects are split by a watershed on the distance to the background, one of the oldest methods for this (Beucher
and Lantuejoul 1979; Vincent and Soille 1991), with markers at maxima of a minimum depth.
"""

# H W  rows and columns, px

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import h_maxima, remove_small_holes, remove_small_objects
from skimage.segmentation import watershed

SMOOTHING = 1.0  # standard deviation of the smoothing of the distances, px
# Two parts of an object are split if the distance at the waist is smaller by this fraction of the median radius. With
# 0.05, 0.1, 0.15 and 0.25, the annotated masks of 16 images of nuclei and of 14 of LIVECell (train lists) give back
# their objects with AP50 0.91, 0.91, 0.90, 0.89 and 0.48, 0.46, 0.42, 0.36 (benchmarks/objects.py --depth).
DEPTH = 0.05
LEAST_DEPTH = 0.75  # px
FEW = 5.0  # percentile of the areas of annotated objects and holes that is taken for their smallest area
PART_OF_SMALLEST = 0.5  # of that area, below which a predicted object is a speck and a predicted hole an error


@dataclass(frozen=True)
class ObjectSettings:
    """How objects are separated.

    Args:
        smallest: Area in px below which an object is removed.
        largest_hole: Area in px below which a hole is filled.
    """

    smallest: int = 0
    largest_hole: int = 0


NOT_LEARNED = ObjectSettings()


def settings_for(masks: Iterable[np.ndarray]) -> ObjectSettings:
    """Return the settings for images like the annotated ones.

    An object is a speck if it has less than half of the area of small annotated objects (their 5th percentile), and a
    hole is filled if it is as much smaller than small annotated holes; where no holes are annotated, those that are
    smaller than a speck are filled.

    Args:
        masks: Masks, H W, bool.
    """
    objects: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    for mask in masks:
        objects.append(_areas(mask))
        holes.append(_areas(ndimage.binary_fill_holes(mask) & ~mask))
    of_objects, of_holes = np.concatenate([[], *objects]), np.concatenate([[], *holes])
    smallest = _least(of_objects)
    return ObjectSettings(smallest, min(smallest, _least(of_holes)) if len(of_holes) else smallest)


def separated(mask: np.ndarray, settings: ObjectSettings, radius: float | None = None) -> np.ndarray:
    """Return the objects of a mask, H W, int32: 0 is background, and each object has a number from 1 on.

    Args:
        mask: Mask, H W, bool.
        settings: Smallest object and largest hole.
        radius: Median of `radii` of the whole image, if the mask is a part of it. Default: that of the mask.
    """
    clean, components, count, distance = _measured(mask, settings)
    if not count:
        return components.astype(np.int32)
    if radius is None:
        radius = float(np.median(_largest(distance, components)))
    maxima = _maxima(distance, components, max(LEAST_DEPTH, DEPTH * radius))
    unmarked = np.ones(count + 1, bool)
    unmarked[components[maxima]] = False  # Objects that are so small that they have no maximum of this depth.
    markers, _ = ndimage.label(maxima | (unmarked[components] & clean), np.ones((3, 3)))
    labels = watershed(-distance, markers, mask=clean)
    return _numbered(_without_specks(labels, settings.smallest))


def radii(mask: np.ndarray, settings: ObjectSettings) -> np.ndarray:
    """Return the largest distance to the background in each connected part of a mask, px; see `separated`."""
    _, components, _, distance = _measured(mask, settings)
    return _largest(distance, components)


def separated_classes(
    mask: np.ndarray, classes: int, settings: ObjectSettings, radius_of: Sequence[float | None] = ()
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the objects of a mask, H W, int32, and the number of the class of each; () for a single class.

    Objects of different classes are separated independently, so touching objects of two classes are two.

    Args:
        mask: Mask, H W: above 0 is foreground, or class numbers.
        classes: Number of classes; 0 for a single class without a name.
        settings: Smallest object and largest hole.
        radius_of: `radius` of `separated` for each class, or for the foreground. Default: those of the mask.
    """
    radius_of = radius_of or [None] * max(1, classes)
    if not classes:
        return separated(mask > 0, settings, radius_of[0]), ()
    labels = np.zeros(mask.shape, np.int32)
    class_of: list[int] = []
    for number, radius in enumerate(radius_of, start=1):
        own = separated(mask == number, settings, radius)
        # A hole of one class may be an object of another one.
        free = (own > 0) & ((mask == number) | (mask == 0))
        labels[free] = own[free] + len(class_of)
        class_of += [number] * int(own.max(initial=0))
    return labels, tuple(class_of)


def _measured(mask: np.ndarray, settings: ObjectSettings) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Return the mask without specks and holes, its connected parts, their number, and their distances to outside."""
    clean = mask
    if settings.largest_hole:
        clean = remove_small_holes(clean, max_size=settings.largest_hole - 1)
    if settings.smallest:
        clean = remove_small_objects(clean, max_size=settings.smallest - 1)
    components, count = ndimage.label(clean)
    # An object that the border of the image cuts is as wide there as beside it.
    distance = ndimage.distance_transform_edt(np.pad(clean, 1, mode="edge"))[1:-1, 1:-1]
    return clean, components, count, ndimage.gaussian_filter(distance, SMOOTHING) * clean


def _largest(distance: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Return the largest distance in each connected part."""
    return np.array([part.max() for _, part in _parts(distance, components)], float)


def _maxima(distance: np.ndarray, components: np.ndarray, depth: float) -> np.ndarray:
    """Return the maxima of the distance that are at least so deep, H W, bool.

    Each connected part is looked at alone, because the time grows faster than the number of pixels.
    """
    maxima = np.zeros(distance.shape, bool)
    for box, part in _parts(distance, components):
        if part.max() >= depth:
            maxima[box] |= h_maxima(np.pad(part, 1), depth)[1:-1, 1:-1].astype(bool) & (part > 0)
    return maxima


def _parts(distance: np.ndarray, components: np.ndarray) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield the box of each connected part, and the distances in it, 0 outside the part."""
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        yield box, np.where(components[box] == number, distance[box], 0)


def _without_specks(labels: np.ndarray, smallest: int) -> np.ndarray:
    """Remove parts that are too small after the split."""
    small = np.bincount(labels.ravel()) < smallest
    small[0] = False
    return np.where(small[labels], 0, labels)


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Return the same objects with the numbers 1, 2, ... without gaps, int32."""
    present = np.flatnonzero(np.bincount(labels.ravel()))
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    numbers[present[present > 0]] = np.arange(1, np.count_nonzero(present) + 1)
    return numbers[labels]


def _areas(mask: np.ndarray) -> np.ndarray:
    """Return the areas of the connected parts of a mask, px."""
    labels, _ = ndimage.label(mask)
    return np.bincount(labels.ravel())[1:]


def _least(areas: np.ndarray) -> int:
    return int(PART_OF_SMALLEST * np.percentile(areas, FEW)) if len(areas) else 0
