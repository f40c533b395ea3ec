"""How sure a specialist is of an image: the disagreement of the folds of its cross-fit, and the expected Dice.

If the time sufficed for one fold only, the specialist itself is the second opinion.
"""

# H W size of an image, px  C classes  K folds

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ptsam_auto.methods.appearance import Appearance
from ptsam_auto.methods.mixture import mixed_probabilities
from ptsam_auto.metrics.classes import decided
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.calibration import confidence

LARGEST = 0.5  # standard deviation if half of the folds say 0 and the other half 1


@dataclass(frozen=True)
class Assessment:
    """What can be said about the prediction of an image without an annotation.

    Args:
        probability: Foreground probability by the specialist, H W, or the probability of each class, C H W; float32, 0
            to 1.
        uncertainty: Standard deviation of the probabilities of the folds in each pixel, H W, float32, 0 to 0.5; with
            several classes the largest of them.
        confidence: Confidence of the specialist's map, 0 to 1; see `calibration.confidence`.
        expected_dice: Expected Dice, 0 to 1, or None if the specialist has no calibration.
        disagreement: Disagreement of the folds on the image, 0 to 1; see `disagreement`.
        descriptor: Appearance of the image, 512 float16; see `methods.appearance`.
    """

    probability: np.ndarray
    uncertainty: np.ndarray
    confidence: float
    expected_dice: float | None
    disagreement: float
    descriptor: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Return the mask, H W, bool or class numbers."""
        return decided(self.probability)


def assess(specialist: Specialist, image: np.ndarray) -> Assessment:
    """Predict an image with the specialist and with its folds. Tiles are encoded once for all models on a frozen SAM.

    The memory is K + 2 maps of the size of the image, in float32, and K + 1 more if the members differ in their tiles
    or backbones.

    Args:
        specialist: Specialist that was loaded with its folds.
        image: Image, H W 3, uint8, RGB.
    """
    appearance = Appearance()
    maps = mixed_probabilities([specialist.model, *specialist.folds], image, appearance)
    opinions = maps[1:] if len(maps) > 2 else maps
    certain, calibration = confidence(maps[0]), specialist.record.scores.calibration
    return Assessment(
        probability=maps[0],
        uncertainty=uncertainty if (uncertainty := spread(opinions)).ndim == 2 else uncertainty.max(axis=0),
        confidence=certain,
        expected_dice=calibration.expected_dice(certain) if calibration else None,
        disagreement=disagreement(opinions),
        descriptor=appearance.descriptor(),
    )


def spread(maps_KHW: np.ndarray) -> np.ndarray:
    """Return the standard deviation of K probability maps in each pixel, H W (or C H W), float32, 0 to 0.5.

    It is the disagreement of an ensemble (Lakshminarayanan, Pritzel and Blundell 2017), whose members here differ in
    their training images, as in bagging (Breiman 1996). It shows where other training images would have given another
    mask. It is not a calibrated probability of an error: all folds can be wrong in the same way, and two of four folds
    share two thirds of their images.
    """
    mean = maps_KHW.mean(axis=0)
    variance = np.zeros_like(mean)
    for one in maps_KHW:  # One at a time, because differences of all maps would need as much memory as the maps.
        variance += (one - mean) ** 2
    return np.sqrt(variance / len(maps_KHW))


def disagreement(maps_KHW: np.ndarray) -> float:
    """Return 1 minus the mean Dice of K probability maps with each other, 0 to 1.

    Dice of two maps p and q is 2 sum(p q) / (sum(p p) + sum(q q)). Pixels that all folds call background with
    certainty do not count, so the value does not depend on how much of an image is foreground.
    """
    flat = maps_KHW.reshape(len(maps_KHW), -1)
    squares = [float(np.dot(one, one)) for one in flat]
    dice = [
        2 * float(np.dot(flat[a], flat[b])) / (squares[a] + squares[b]) if squares[a] + squares[b] else 1.0
        for a, b in combinations(range(len(flat)), 2)
    ]
    return float(np.clip(1 - np.mean(dice), 0, 1))


def as_pixels(uncertainty: np.ndarray) -> np.ndarray:
    """Return a map of the standard deviation as 8 bits: 0 is no disagreement, 255 is 0.5, the largest value."""
    return np.rint(uncertainty * (255 / LARGEST)).clip(0, 255).astype(np.uint8)
