"""Ranks images by what annotating them would teach: uncertain, and different from what is annotated already.

The rule joins uncertainty sampling (Lewis and Gale 1994: ask where the model is unsure) with the greedy k-center rule
of core-sets (Sener and Savarese 2018: ask far from everything that is labelled or chosen). Each time the image with the
largest product of both is chosen: its uncertainty, times the distance of its descriptor to the nearest descriptor of an
annotated or already chosen image. The product needs no weight between the two, because the scale of each has no
influence on the order.
"""

# N images  C annotated images

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pick:
    """A chosen image.

    Args:
        index: Index of the image.
        gain: Uncertainty times distance at the time when it was chosen.
        distance: Distance to the nearest annotated or already chosen image.
        nearest: Index of the nearest annotated image.
        distance_to_annotated: Distance to that image.
    """

    index: int
    gain: float
    distance: float
    nearest: int
    distance_to_annotated: float


@dataclass(frozen=True)
class Suggestion:
    """An image to annotate, and why.

    Args:
        name: Name of the image; pages of a stack are NAME_p000 and so on.
        path: Path of its file, as the user named it.
        gain: Uncertainty times distance at the time when it was chosen; only the order has a meaning.
        disagreement: Uncertainty: disagreement of the folds, 0 to 1; see `uncertainty.disagreement`.
        expected_dice: Expected Dice of the specialist on it, 0 to 1, or None if it is not known.
        nearest: Name of the annotated image that it resembles most.
        distance: Distance to that image, in units of the typical distance between an annotated image and the one that
            it resembles most; 1 is as different as annotated images are from each other.
    """

    name: str
    path: str
    gain: float
    disagreement: float
    expected_dice: float | None
    nearest: str
    distance: float


def choose(
    uncertainty: Sequence[float], descriptors_ND: np.ndarray, annotated_CD: np.ndarray, count: int
) -> list[Pick]:
    """Return the images to annotate, the most useful one first.

    Args:
        uncertainty: Uncertainty of each of N images, at least 0; see `uncertainty.disagreement`.
        descriptors_ND: Descriptor of each image; see `methods.appearance`.
        annotated_CD: Descriptors of the annotated images, at least one.
        count: Largest number of images to choose.
    """
    unsure, new = np.asarray(uncertainty, float), descriptors_ND.astype(np.float32)
    to_annotated = np.stack([_distances(new, one) for one in annotated_CD.astype(np.float32)], axis=1)
    nearest, distance = to_annotated.argmin(axis=1), to_annotated.min(axis=1)
    left, picks = np.ones(len(new), bool), []
    for _ in range(min(count, len(new))):
        gain = np.where(left, unsure * distance, -1.0)
        index = int(gain.argmax())
        at = int(nearest[index])
        picks.append(Pick(index, float(gain[index]), float(distance[index]), at, float(to_annotated[index, at])))
        left[index] = False
        distance = np.minimum(distance, _distances(new, new[index]))
    return picks


def typical_distance(annotated_CD: np.ndarray) -> float:
    """Return the mean distance of each annotated image to the nearest other one; 1 if there is no other."""
    rows = annotated_CD.astype(np.float32)
    if len(rows) < 2:
        return 1.0
    nearest = [np.delete(_distances(rows, one), index).min() for index, one in enumerate(rows)]
    return float(np.mean(nearest)) or 1.0


def _distances(rows: np.ndarray, one: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows - one, axis=1)
