"""The range of an image's values that is shown, from black to white; for arrays, and for counts of large images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

DARKEST, INNER_DARK, INNER_BRIGHT, BRIGHTEST = 0.1, 2.0, 98.0, 99.9  # percentiles
REACH = 3.0  # the range exceeds the inner range at most by this factor, so that hot pixels and debris have no influence
END_SHARE = 0.0005  # minimum fraction of pixels with the smallest or the largest value for a border, a bar or padding
END_GAP = 0.5  # minimum distance of this value from all others, relative to the inner range


class Values(Protocol):
    """Finite numbers in any order."""

    @property
    def count(self) -> int:
        """Return the number of numbers."""

    @property
    def ends(self) -> tuple[float, float]:
        """Return the smallest and the largest number."""

    def without(self, *numbers: float) -> "Values":
        """Return all that are none of these numbers."""

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles as `np.percentile` does."""


@dataclass(frozen=True)
class Listed:
    """Finite numbers as an array."""

    numbers: np.ndarray

    @property
    def count(self) -> int:
        """Return the number of numbers."""
        return self.numbers.size

    @property
    def ends(self) -> tuple[float, float]:
        """Return the smallest and the largest number."""
        return self.numbers.min(), self.numbers.max()

    def without(self, *numbers: float) -> "Listed":
        """Return all that are none of these numbers."""
        kept = self.numbers
        for number in numbers:
            kept = kept[kept != number]
        return Listed(kept)

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles as `np.percentile` does."""
        return list(map(float, np.percentile(self.numbers, percents)))


@dataclass(frozen=True)
class Counted:
    """Whole numbers from 0 on, as the count of each: of an image that is too large for an array."""

    counts: np.ndarray

    @property
    def count(self) -> int:
        """Return the number of numbers."""
        return int(self.counts.sum())

    @property
    def ends(self) -> tuple[float, float]:
        """Return the smallest and the largest number."""
        there = np.flatnonzero(self.counts)
        return int(there[0]), int(there[-1])

    def without(self, *numbers: float) -> "Counted":
        """Return all that are none of these numbers."""
        kept = self.counts.copy()
        kept[[int(number) for number in numbers]] = 0
        return Counted(kept)

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles as `np.percentile` does."""
        up_to = np.cumsum(self.counts)
        places = (self.count - 1) * (np.asarray(percents) / 100)
        lower, upper = (np.searchsorted(up_to, np.floor(places) + more, side="right") for more in (0, 1))
        upper = np.minimum(upper, self.ends[1])
        share = places - np.floor(places)
        found = np.where(share < 0.5, lower + (upper - lower) * share, upper - (upper - lower) * (1 - share))
        return list(map(float, found))


def shown_range(values: Values) -> tuple[float, float]:
    """Return the values that become black and white; see `reading.value_range`.

    Args:
        values: At least one number.
    """
    smallest, largest = values.ends
    body = values
    kept = values.without(smallest, largest)
    if 2 * kept.count >= values.count:
        dark, bright = kept.percentiles((INNER_DARK, INNER_BRIGHT))
        gap = END_GAP * (bright - dark)
        darkest, brightest = kept.ends
        away = ((smallest, float(darkest) - float(smallest)), (largest, float(largest) - float(brightest)))
        for end, distance in away:
            if distance > gap and (values.count - values.without(end).count) / values.count >= END_SHARE:
                body = body.without(end)
    low, dark, bright, high = body.percentiles((DARKEST, INNER_DARK, INNER_BRIGHT, BRIGHTEST))
    if bright > dark:
        low, high = max(low, dark - REACH * (bright - dark)), min(high, bright + REACH * (bright - dark))
    if low == high:  # fewer than one pixel in a thousand differs, for example with single bright spots
        low, high = float(smallest), float(largest)
    return low, high
