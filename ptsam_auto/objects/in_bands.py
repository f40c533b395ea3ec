"""Separates the objects of a mask that is too large for memory, from top to bottom.

A connected part of the foreground is separated as soon as all of its rows have been read. So the objects are those of
the mask as a whole; their numbers are not. Only a part that is so tall that its rows do not fit into memory is cut.
"""

# H W  size of the image, px  h  rows of a part of it

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import ndimage

from ptsam_auto.objects.separation import ObjectSettings, radii, separated_classes

AT_ONCE = 2**22  # px that are read before finished objects are separated
MOST = 2**25  # px that wait for the end of an object, such as 5,792 x 5,792 px
CORNERS_TOO = np.ones((3, 3))  # a connected part is connected by corners too, so that its holes are its own

Bands = Callable[[int], Iterator[np.ndarray]]  # from a number of rows to the mask, that many rows at a time


@dataclass(frozen=True)
class Finished:
    """The objects that end within some rows of an image.

    Args:
        top: First of these rows.
        labels: The objects, h W, int32, with numbers from 1 on.
        class_of: Number of the class of each object; () for a single class.
        before: Number of objects that were finished earlier.
        cut: Number of objects of which a part is missing, because they are too tall.
        rows: Objects of all rows that are complete now and were not before, h W, int32, with their numbers in the
            image: `before` is added to those of `labels`.
    """

    top: int
    labels: np.ndarray
    class_of: tuple[int, ...]
    before: int
    cut: int
    rows: np.ndarray


def finished_objects(mask: Bands, width: int, classes: int, settings: ObjectSettings) -> Iterator[Finished]:
    """Separate the objects of a mask; the mask is read twice.

    Args:
        mask: Function that yields the mask in bands, each h W: above 0 is foreground, or class numbers.
        width: W, width of the image, px.
        classes: Number of classes; 0 for a single class without a name.
        settings: Smallest object and largest hole.
    """
    numbers = range(1, max(1, classes) + 1)
    found: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
    for each in _complete(mask, width):
        for number in numbers:
            found[number].append(radii(each.mask == number if classes else each.mask > 0, settings))
    all_radii = {number: np.concatenate([np.empty(0), *own]) for number, own in found.items()}
    radius_of = [float(np.median(own)) if len(own) else None for own in all_radii.values()]

    labelled = np.empty((0, width), np.int32)  # the rows of the part before that are not complete yet
    before = 0
    for each in _complete(mask, width):
        labels, class_of = separated_classes(each.mask, classes, settings, radius_of)
        labelled = np.pad(labelled, ((0, len(labels) - len(labelled)), (0, 0)))
        labelled[labels > 0] = labels[labels > 0] + before
        cut = len(np.setdiff1d(labels[-1], [0])) if each.is_cut else 0
        yield Finished(each.top, labels, class_of, before, cut, labelled[: each.rows])
        labelled = labelled[each.rows :]
        before += int(labels.max(initial=0))


@dataclass(frozen=True)
class _Part:
    """Rows of the mask with only those connected parts of it that are complete in them.

    Args:
        top: First of these rows; it is empty, as long as it is not the first row of the image.
        mask: The rows.
        rows: Number of rows, from the first on, in which nothing is missing; the next part begins below them.
        is_cut: Whether what reaches the last row goes on below.
    """

    top: int
    mask: np.ndarray
    rows: int
    is_cut: bool


def _complete(mask: Bands, width: int) -> Iterator[_Part]:
    """Yield the mask in parts; each connected part of the foreground is in one of them."""
    bands = mask(max(1, AT_ONCE // width))
    waiting, top = next(bands), 0
    for following in chain(bands, [None]):
        parts, count = ndimage.label(waiting, CORNERS_TOO)
        is_cut = following is not None and waiting.size > MOST
        is_open = np.zeros(count + 1, bool)
        if following is not None and not is_cut:
            is_open[parts[-1]] = True
            is_open[0] = False
        left = is_open[parts]
        first_open = np.flatnonzero(left.any(axis=1))[:1]
        if following is None:
            rows = len(waiting)
        else:
            rows = max(0, int(first_open[0]) - 1) if len(first_open) else len(waiting) - 1
        yield _Part(top, np.where(left, 0, waiting), rows, is_cut)
        if following is not None:
            waiting = np.concatenate([np.where(left, waiting, 0)[rows:], following])
            top += rows
