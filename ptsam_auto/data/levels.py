"""Restores the few intended levels of a mask that was compressed with loss, resized or drawn with a soft brush.

The intended levels cover flat areas; the values between them are slopes or noise. Each pixel gets the nearest level.
"""

# H W  px, rows and columns

import cv2
import numpy as np

Value = int | float | str
BLACK, WHITE = 0, 255
SAME_LEVEL = 16  # grey levels, or steps of a colour channel
FLAT, FLAT_COLOUR = 0.1, 0.2  # fraction of the range; in a flat area the 3 x 3 neighbours of a pixel differ by no more
RUN = 2  # number of the 4 neighbours with the same value from which a pixel counts as drawn, not as part of a slope
DRAWN = 0.5  # fraction of the pixels between the extremes; if fewer are drawn, the values between them are slopes
LEVEL_SHARE = 0.15  # minimum fraction of the marked flat area for a level between the extremes; less is noise
LEVEL_PIXELS = 20
COLOUR_SHARE = 0.002  # minimum fraction of the flat area for a colour; less is noise
SAME_COLOUR = 64  # steps of a colour channel; the distance of two values of the same intended colour in a JPEG
FAR_SHARE = 0.2  # fraction of the flat area far from every level, from which the values change gradually as in a photo
MOST_LEVELS = 8  # maximum number of levels of a mask; with more it is a picture


def _drawn(codes: np.ndarray) -> np.ndarray:
    """Return for each pixel whether at least RUN of its 4 neighbours have the same value, H W, bool."""
    padded = np.pad(codes, 1, mode="edge")
    alike = np.zeros(codes.shape, np.uint8)
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1))):
        alike += padded[rows, columns] == codes
        alike += padded[columns, rows] == codes
    return alike >= RUN


def is_smeared(codes: np.ndarray, count: int) -> bool:
    """Return whether the values between the smallest and the largest are slopes or noise rather than labels.

    Args:
        codes: Index of each pixel's value among the sorted distinct values, H W.
        count: Number of distinct values.
    """
    between = (codes > 0) & (codes < count - 1)
    if not between.any() or float(_drawn(codes)[between].mean()) >= DRAWN:
        return False
    # Small objects do not count as drawn either, but they have no brighter neighbours; slopes have.
    higher = cv2.dilate(codes.astype(np.float32), np.ones((3, 3))) > codes
    return float(higher[between].mean()) > DRAWN


def has_rare_slopes(codes: np.ndarray, count: int) -> bool:
    """Return whether the rare colours of a mask are slopes or noise rather than drawn; see `is_smeared`."""
    counts = np.bincount(codes.ravel(), minlength=count)
    rare = (counts < 0.02 * (codes.size - counts.max()))[codes]
    return bool(rare.any()) and float(_drawn(codes)[rare].mean()) < DRAWN


def grey_levels(grey: np.ndarray, top: float) -> tuple[list[Value], bool]:
    """Return the intended grey levels, and whether there are too many for a mask."""
    low, high = float(grey.min()), float(grey.max())
    square = np.ones((3, 3), np.uint8)
    flat = cv2.dilate(grey, square) - cv2.erode(grey, square) <= FLAT * (high - low)
    share = (grey - low) / ((high - low) or 1.0)
    middle = np.sort(grey[flat & (share > 0.2) & (share < 0.8)])
    marked = middle.size + int((flat & (share >= 0.8)).sum())
    levels: list[Value] = [_end(low, top)]
    wide = False
    if middle.size >= LEVEL_PIXELS and middle.size > LEVEL_SHARE * marked:
        gaps = np.flatnonzero(np.diff(middle) > SAME_LEVEL / WHITE * top)
        for part in np.split(middle, gaps + 1):
            if part.size > LEVEL_SHARE * marked:
                wide |= bool(np.percentile(part, 95) - np.percentile(part, 5) > 3 * SAME_LEVEL / WHITE * top)
                levels.append(number(round(float(np.median(part)), 3 if top == 1 else 0)))
    levels.append(_end(high, top))
    return list(dict.fromkeys(levels)), wide or len(levels) > MOST_LEVELS


def _end(value: float, top: float) -> Value:
    """Return black for a level near black, white for a level near white, and otherwise the rounded level."""
    if value <= 0.12 * top:
        return BLACK
    if value >= 0.88 * top:
        return number(top)
    return number(round(value, 3 if top == 1 else 0))


def colour_levels(stored: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the intended colours, N 3, and whether there are too many for a mask."""
    square = np.ones((3, 3), np.uint8)
    spread = (cv2.dilate(stored, square).astype(np.int16) - cv2.erode(stored, square)).max(axis=-1)
    flat = stored[spread <= FLAT_COLOUR * WHITE].reshape(-1, 3)
    levels: list[np.ndarray] = []
    left = flat if len(flat) else stored.reshape(-1, 3)
    looked_at, far = len(left), 0
    fewest = max(LEVEL_PIXELS, COLOUR_SHARE * len(left))
    while len(left) and len(levels) <= MOST_LEVELS:
        _, where, counts = np.unique(left >> 5, axis=0, return_inverse=True, return_counts=True)
        centre = np.median(left[where.ravel() == counts.argmax()], axis=0)
        near = np.abs(left.astype(np.int16) - centre).max(axis=1) <= SAME_COLOUR
        if levels and near.sum() < fewest:
            break
        levels.append(np.median(left[near], axis=0))
        far += int((np.abs(left[near] - levels[-1]).max(axis=1) > 2 * SAME_LEVEL).sum())
        left = left[~near]
    farthest = np.abs(stored.reshape(-1, 3).astype(np.int16) - levels[0]).max(axis=1)
    if len(levels) == 1 and farthest.max() > SAME_COLOUR:  # lines too thin for a flat area
        levels.append(stored.reshape(-1, 3)[farthest.argmax()].astype(np.float64))
    snapped = np.array(levels)
    snapped[snapped <= 0.06 * WHITE] = BLACK
    snapped[snapped >= 0.94 * WHITE] = WHITE
    return snapped.round(), len(levels) > MOST_LEVELS or far + len(left) > FAR_SHARE * looked_at


def number(value: float) -> Value:
    """Return a number as an int if it is a whole number."""
    return int(value) if value == int(value) else float(value)
