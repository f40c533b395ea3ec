"""Decodes and checks the run lengths of COCO and CVAT before they are drawn."""

# K  number of runs; background and foreground alternate, background is first

from typing import Any

import numpy as np

FIRST_CHARACTER = 48
CONTINUED, NEGATIVE, LOWER_BITS = 32, 16, 31  # bit masks for the six bits of a character
LONGEST_NUMBER = 7  # characters (35 bits); more than the number of pixels of any image


def counts_of(written: Any, pixels: int) -> np.ndarray:  # noqa: ANN401 - JSON
    """Return the run lengths of a region.

    Args:
        written: COCO's compressed text, or a list of whole numbers.
        pixels: Required sum of the run lengths.

    Returns:
        K, int64, none negative.

    Raises:
        ValueError: They are not run lengths, or have another sum; the text describes the problem.
    """
    if isinstance(written, str):
        counts = _decompressed(written)
    elif isinstance(written, list) and all(type(count) is int and 0 <= count <= pixels for count in written):
        counts = np.array(written, np.int64)
    else:
        raise ValueError(f"its run lengths are not whole numbers between 0 and {pixels}")
    if (counts < 0).any():
        raise ValueError("a run length is negative")
    if (total := int(counts.sum())) != pixels:
        raise ValueError(f"its run lengths add up to {total} px, but its size has {pixels} px")
    return counts


def toggles_of(counts: np.ndarray) -> np.ndarray:
    """Return the positions in the sequence of pixels where foreground starts and ends, alternately."""
    ends = np.cumsum(counts)
    return ends[: len(ends) // 2 * 2]


def _decompressed(text: str) -> np.ndarray:
    """Return the numbers of COCO's text: five bits per character, as differences from the run before the last."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - FIRST_CHARACTER
    if ((codes < 0) | (codes > 63)).any():
        raise ValueError("its run lengths hold characters that COCO does not use")
    last = np.flatnonzero(codes & CONTINUED == 0)
    if len(last) == 0 or last[-1] != len(codes) - 1:
        raise ValueError("its run lengths are empty or cut short")
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > LONGEST_NUMBER:
        raise ValueError("a run length is larger than any image")
    place = np.arange(len(codes)) - np.repeat(first, lengths)
    counts = np.add.reduceat((codes & LOWER_BITS) << (5 * place), first)
    counts -= np.where(codes[last] & NEGATIVE, 1 << (5 * lengths), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
