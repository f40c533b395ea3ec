"""Separates the objects of a mask that is too large for memory, from top to bottom.

A connected part of the foreground is separated as soon as all of its rows have been read. So the objects are those of
the mask as a whole; their numbers are not. If a part is so tall that its rows do not fit into memory, its objects are
separated as far as they can be seen, and those at the last row wait for the next ones; a single object that is as tall
is cut.
"""

# H W  size of the image, px  h  rows of a part of it

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    radius_of = _radii(mask, width, classes, settings)
    waiting, before = _Waiting(mask, width), 0
    labelled = np.empty((0, width), np.int32)  # the rows that wait
    while waiting.read():
        goes_on, is_full = waiting.goes_on()
        labels, class_of = separated_classes(np.where(goes_on, 0, waiting.mask), classes, settings, radius_of)
        cut = 0
        if is_full:
            labels, class_of, cut, unfinished = _put_back(labels, class_of)
            goes_on |= unfinished & (waiting.mask > 0)
        labelled = np.pad(labelled, ((0, len(labels) - len(labelled)), (0, 0)))
        labelled[labels > 0] = labels[labels > 0] + before
        top, rows = waiting.top, waiting.keep(goes_on)
        yield Finished(top, labels, class_of, before, cut, labelled[:rows])
        labelled = labelled[rows:]
        before += int(labels.max(initial=0))


def _radii(mask: Bands, width: int, classes: int, settings: ObjectSettings) -> list[float | None]:
    """Return the median radius of the connected parts of each class, or of the foreground; see `separation.radii`."""
    numbers = range(1, max(1, classes) + 1)
    found: dict[int, list[np.ndarray]] = {number: [np.empty(0)] for number in numbers}
    waiting = _Waiting(mask, width)
    while waiting.read():
        goes_on, _ = waiting.goes_on()
        part = np.where(goes_on, 0, waiting.mask)
        for number in numbers:
            found[number].append(radii(part == number if classes else part > 0, settings))
        waiting.keep(goes_on)
    of_all = [np.concatenate(own) for own in found.values()]
    return [float(np.median(own)) if len(own) else None for own in of_all]


def _put_back(labels: np.ndarray, class_of: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...], int, np.ndarray]:
    """Take out the objects that reach the last row, because they may go on below it.

    An object that fills more than half of the rows stays, and is cut.

    Returns:
        The other objects, the number of the class of each, how many are cut, and the pixels that were taken out.
    """
    reaching = np.setdiff1d(labels[-1], [0])
    boxes = ndimage.find_objects(labels)
    tops = np.array([boxes[number - 1][0].start for number in reaching], int)
    taken = reaching[tops > len(labels) // 2]
    unfinished = np.isin(labels, taken)
    stay = np.setdiff1d(np.arange(1, int(labels.max(initial=0)) + 1), taken)
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    numbers[stay] = np.arange(1, len(stay) + 1)
    of_class = tuple(class_of[number - 1] for number in stay) if class_of else ()
    return numbers[labels], of_class, len(reaching) - len(taken), unfinished


class _Waiting:
    """The rows of a mask that have been read and are not finished.

    Args:
        mask: Function that yields the mask in bands.
        width: W, width of the image, px.

    Attributes:
        mask: These rows, without what was finished. The first row is empty if it is not the first one of the image.
        top: First of these rows.
    """

    def __init__(self, mask: Bands, width: int) -> None:
        self._bands = mask(max(1, AT_ONCE // width))
        self._following = next(self._bands, None)
        self.mask, self.top = np.empty((0, width), np.uint8), 0

    def read(self) -> bool:
        """Read the next band; return False if there is none."""
        if self._following is None:
            return False
        self.mask = np.concatenate([self.mask, self._following])
        self._following = next(self._bands, None)
        return True

    def goes_on(self) -> tuple[np.ndarray, bool]:
        """Return the pixels, h W, of the connected parts that may go on below, and whether too many wait already.

        In that case none of them is waited for.
        """
        is_full = self._following is not None and self.mask.size > MOST
        if self._following is None or is_full:
            return np.zeros(self.mask.shape, bool), is_full
        parts, count = ndimage.label(self.mask, CORNERS_TOO)
        reaches = np.zeros(count + 1, bool)
        reaches[parts[-1]] = True
        reaches[0] = False
        return reaches[parts], False

    def keep(self, pixels: np.ndarray) -> int:
        """Wait for these pixels only, h W, and return the number of rows in which nothing is missing any more."""
        occupied = np.flatnonzero(pixels.any(axis=1))
        rows = len(pixels)
        if self._following is not None:
            rows = max(0, int(occupied[0]) - 1) if len(occupied) else rows - 1
        self.mask = np.where(pixels, self.mask, 0)[rows:]
        self.top += rows
        return rows
