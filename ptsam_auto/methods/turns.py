"""Test-time augmentation: the mean prediction over the eight flips and quarter turns of an image."""

# H W size of an image, px

from collections.abc import Callable

import numpy as np

TURNS = 8  # four quarter turns of the image and of its mirror image


def mean_over_turns(probability: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Return the mean foreground probability over all flips and quarter turns, H W or C H W, float32, 0 to 1.

    Args:
        probability: Function that maps an image, H W 3, uint8, to its foreground probability, H W or C H W.
        image: Image, H W 3, uint8, RGB.
    """
    total = np.zeros(1, np.float32)
    for mirrored in (image, image[:, ::-1]):
        for quarter in range(4):
            turned = np.ascontiguousarray(np.rot90(mirrored, quarter))
            back = np.rot90(probability(turned), -quarter, axes=(-2, -1))
            total = total + (back if mirrored is image else back[..., ::-1])
    return total / TURNS
