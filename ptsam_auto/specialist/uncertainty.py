"""How sure a specialist is of an image: the disagreement of the folds of its cross-fit, and the expected Dice.

If the time sufficed for one fold only, the specialist itself is the second opinion.
"""

# H W size of an image, px  C classes  K folds

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ptsam_auto.methods.appearance import Appearance
from ptsam_auto.methods.mixture import mixed_probabilities
from ptsam_auto.methods.rows import probability_rows
from ptsam_auto.metrics.classes import decided
from ptsam_auto.sam.tiles import Pixels
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.calibration import confidence_of, confidence_sums

LARGEST = 0.5  # standard deviation if half of the folds say 0 and the other half 1


@dataclass(frozen=True)
class Tally:
    """Sums over the pixels of an image; those of its parts can be added.

    Args:
        confidence_C3: See `calibration.confidence_sums`.
        products_KK: Sums of the products of the folds' probabilities with each other.
        foreground: Number of pixels of the foreground.
        pixels: Number of all pixels.
    """

    confidence_C3: np.ndarray
    products_KK: np.ndarray
    foreground: int
    pixels: int

    @classmethod
    def of(cls, probability: np.ndarray, opinions_KHW: np.ndarray) -> "Tally":
        """Return the sums over an image or a part of it.

        Args:
            probability: Probability by the specialist, H W or C H W.
            opinions_KHW: Probabilities by the folds, K H W or K C H W.
        """
        foreground = int(np.count_nonzero(decided(probability)))
        pixels = probability.shape[-2] * probability.shape[-1]
        return cls(confidence_sums(probability), _products(opinions_KHW), foreground, pixels)

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sums over two parts of an image."""
        return Tally(
            self.confidence_C3 + other.confidence_C3,
            self.products_KK + other.products_KK,
            self.foreground + other.foreground,
            self.pixels + other.pixels,
        )

    @property
    def confidence(self) -> float:
        """Return the confidence of the specialist's map, 0 to 1; see `calibration.confidence`."""
        return confidence_of(self.confidence_C3)

    @property
    def disagreement(self) -> float:
        """Return the disagreement of the folds on the image, 0 to 1; see `disagreement`."""
        return _disagreement(self.products_KK)

    @property
    def foreground_share(self) -> float:
        """Return the fraction of the image that is foreground, 0 to 1."""
        return self.foreground / self.pixels


@dataclass(frozen=True)
class Assessment:
    """What can be said about the prediction of an image without an annotation.

    Args:
        probability: Foreground probability by the specialist, H W, or the probability of each class, C H W; float32, 0
            to 1.
        uncertainty: Standard deviation of the probabilities of the folds in each pixel, H W, float32, 0 to 0.5; with
            several classes the largest of them.
        tally: Sums over the image, with its confidence and the disagreement of the folds.
        expected_dice: Expected Dice, 0 to 1, or None if the specialist has no calibration.
        descriptor: Appearance of the image, 512 float16; see `methods.appearance`.
    """

    probability: np.ndarray
    uncertainty: np.ndarray
    tally: Tally
    expected_dice: float | None
    descriptor: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Return the mask, H W, bool or class numbers."""
        return decided(self.probability)

    @property
    def disagreement(self) -> float:
        """Return the disagreement of the folds on the image, 0 to 1; see `disagreement`."""
        return self.tally.disagreement


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
    uncertainty, tally = _judged(maps)
    calibration = specialist.record.scores.calibration
    return Assessment(
        probability=maps[0],
        uncertainty=uncertainty,
        tally=tally,
        expected_dice=calibration.expected_dice(tally.confidence) if calibration else None,
        descriptor=appearance.descriptor(),
    )


def assessed_rows(
    specialist: Specialist, image: Pixels, start: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, Tally]]:
    """Yield probability, uncertainty and sums of an image in parts, from row `start` on; see `assess`.

    Args:
        specialist: Specialist that was loaded with its folds; `predicts_by_rows` is true for its model.
        image: Image, H W 3, uint8, RGB, as an array or read by regions.
        start: First row of pixels.
    """
    for maps in probability_rows([specialist.model, *specialist.folds], image, start):
        yield maps[0], *_judged(maps)


def _judged(maps: np.ndarray) -> tuple[np.ndarray, Tally]:
    """Return the uncertainty, H W, and the sums, given the maps of the specialist and of its folds."""
    opinions = maps[1:] if len(maps) > 2 else maps
    uncertainty = spread(opinions)
    return uncertainty if uncertainty.ndim == 2 else uncertainty.max(axis=0), Tally.of(maps[0], opinions)


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
    return _disagreement(_products(maps_KHW))


def _products(maps_KHW: np.ndarray) -> np.ndarray:
    """Return the sums over all pixels of the products of each two maps, K K, float64."""
    flat = maps_KHW.reshape(len(maps_KHW), -1)
    return (flat @ flat.T).astype(np.float64)


def _disagreement(products_KK: np.ndarray) -> float:
    squares = products_KK.diagonal()
    dice = [
        2 * products_KK[a, b] / (squares[a] + squares[b]) if squares[a] + squares[b] else 1.0
        for a, b in combinations(range(len(squares)), 2)
    ]
    return float(np.clip(1 - np.mean(dice), 0, 1))


def as_pixels(uncertainty: np.ndarray) -> np.ndarray:
    """Return a map of the standard deviation as 8 bits: 0 is no disagreement, 255 is 0.5, the largest value."""
    return np.rint(uncertainty * (255 / LARGEST)).clip(0, 255).astype(np.uint8)
