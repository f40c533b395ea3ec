"""Tests from areas, borders and brightness whether foreground and background of masks are exchanged.

A mask with foreground and background exchanged has valid values and correct outlines, but trains the opposite.
"""

from collections.abc import Sequence

import numpy as np

from ptsam_auto.data.levels import BLACK
from ptsam_auto.data.mask_values import MaskValues

MOSTLY = 0.5  # fraction of an image's area
BORDER = 0.8  # fraction of an image's border that background covers
CORNERS = 3  # number of the four corners that background covers
FEWEST_MASKS = 2
CONTRAST = 0.5  # difference between marked and other pixels, in standard deviations of the image
AGREE = 0.75  # fraction of the other masks that must have the same sign of contrast


def exchanged(masks: Sequence[MaskValues]) -> list[int]:
    """Return the indices of the masks with foreground and background exchanged, compared with the others.

    Such a mask marks most of the area and the corners, which the others do not, and its marked area has the brightness
    of the unmarked areas of the others.

    Args:
        masks: Masks with two values each, 0 and another one; blank masks are left out.
    """
    known = [place for place, mask in enumerate(masks) if _two(mask) and mask.brightness]
    if len(known) < FEWEST_MASKS:
        return []
    share = np.array([_marked_share(masks[place]) for place in known])
    corners = np.array([masks[place].corners[_marked(masks[place])] for place in known])
    contrast = np.array([_contrast(masks[place]) for place in known])
    large = (share > MOSTLY) & (corners >= CORNERS)  # a large object does not cover the corners
    if not large.any() or large.all():
        return []
    usual = np.median(contrast[~large])
    agree = float(np.mean(np.sign(contrast[~large]) == np.sign(usual)))
    opposite = large & (contrast * np.sign(usual) < -CONTRAST)
    if agree < AGREE or abs(usual) < CONTRAST or not opposite.any():
        return []
    return [known[place] for place in np.flatnonzero(opposite)]


def looks_exchanged_everywhere(masks: Sequence[MaskValues]) -> bool:
    """Return whether the marked area covers most of every image and nearly all of the borders, as background does."""
    known = [mask for mask in masks if _two(mask)]
    if not known:
        return False
    shares, borders = [_marked_share(mask) for mask in known], [_marked_border(mask) for mask in known]
    corners = [mask.corners[_marked(mask)] for mask in known]
    return min(shares) > MOSTLY and float(np.mean(borders)) > BORDER and float(np.mean(corners)) >= CORNERS


def _two(mask: MaskValues) -> bool:
    return len(mask.values) == 2 and BLACK in mask.values


def _marked(mask: MaskValues) -> int:
    return 1 - mask.values.index(BLACK)


def _marked_share(mask: MaskValues) -> float:
    return mask.counts[_marked(mask)] / sum(mask.counts)


def _marked_border(mask: MaskValues) -> float:
    return mask.border[_marked(mask)] / sum(mask.border)


def _contrast(mask: MaskValues) -> float:
    """Return how much brighter marked pixels are than the others, in standard deviations of the image."""
    place = _marked(mask)
    return (mask.brightness[place] - mask.brightness[1 - place]) / max(mask.spread, 1.0)
