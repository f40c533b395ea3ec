"""From probabilities to masks, and the scores of masks with several classes.

A mask of one class is H W, bool. With C classes it is a map of class numbers, H W, uint8: 0 is background, and the
classes, which exclude each other, are counted from 1. Probabilities are H W, or C H W; the background has the rest.
"""

# H W size of an image, px  C classes

from collections.abc import Sequence

import numpy as np

from ptsam_auto.metrics.dice import Counts

DEFAULT_THRESHOLD = 0.5


def number_of(names: Sequence[str]) -> int:
    """Return C, given the names of several classes; a single class has no name, and C is 1."""
    return max(1, len(names))


def decided(probability: np.ndarray, threshold: float = DEFAULT_THRESHOLD) -> np.ndarray:
    """Return the mask, H W, bool or class numbers.

    With several classes, each pixel has the class with the largest probability p, if p / (p + background) is above the
    threshold; at 0.5 this is the most probable of all classes and the background.

    Args:
        probability: Foreground probability, H W, or the probability of each class, C H W; 0 to 1.
        threshold: Probability above which a pixel is foreground, 0 to 1.
    """
    if probability.ndim == 2:
        return probability > threshold
    most = probability.argmax(axis=0)
    largest = np.take_along_axis(probability, most[None], axis=0)[0]
    background = np.clip(1 - probability.sum(axis=0, dtype=np.float32), 0, 1)
    return np.where(largest > threshold * (largest + background), most + 1, 0).astype(np.uint8)


def share_of_class(probability: np.ndarray, number: int) -> np.ndarray:
    """Return a map of one of several classes, H W, 0 to 1, that is above any threshold where `decided` gives the class.

    It is p / (p + background) where the class is the most probable of all classes, and 0 elsewhere.

    Args:
        probability: Probability of each class, C H W, 0 to 1.
        number: Number of the class, from 1.
    """
    own = probability[number - 1]
    background = np.clip(1 - probability.sum(axis=0, dtype=np.float32), 0, 1)
    share = own / np.maximum(own + background, np.finfo(np.float32).tiny)
    return np.where(probability.argmax(axis=0) == number - 1, share, 0).astype(np.float32)


def masks_of(mask: np.ndarray, classes: int) -> list[np.ndarray]:
    """Return the mask of each class, H W, bool, in the order of their numbers.

    Args:
        mask: Mask, H W, bool or class numbers.
        classes: C, number of classes.
    """
    return [mask.astype(bool)] if classes == 1 else [mask == number for number in range(1, classes + 1)]


def counts_of(predicted: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None, classes: int) -> list[Counts]:
    """Compare two masks, H W, bool or class numbers, class by class; ignored pixels (H W, bool) are not counted."""
    pairs = zip(masks_of(predicted, classes), masks_of(truth, classes), strict=True)
    return [Counts.of(one, other, ignored) for one, other in pairs]
