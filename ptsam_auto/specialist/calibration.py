"""The expected Dice of a single image without annotation, calibrated on the images of the cross-fit.

The statistic is the confidence of one probability map: the Dice of its mask that its own probabilities predict. A
training image has such a map by a model that never saw it, so confidence and Dice are compared as honestly as they can
be, and the line between them is applied to new images.
"""

# H W size of an image, px  C classes

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptsam_auto.metrics.classes import decided

FEWEST = 4  # images; with fewer the expected Dice is the same for all images


def confidence(probability: np.ndarray) -> float:
    """Return the Dice of the mask that the probabilities themselves predict, 0 to 1.

    With p the probability of a pixel, it is 2 sum(p in the mask) / (number of pixels of the mask + sum(p)): the
    expected Dice if every probability were right and pixels were independent, up to a term that vanishes for many
    pixels. It is 0 if the mask is empty. With several classes it is the mean over those in the mask.

    Args:
        probability: Foreground probability, H W, 0 to 1, or the probability of each class, C H W.
    """
    return confidence_of(confidence_sums(probability))


def confidence_sums(probability: np.ndarray) -> np.ndarray:
    """Return the sums from which the confidence follows, C 3: p in the mask, pixels of the mask, and p.

    Those of the parts of an image can be added.

    Args:
        probability: As in `confidence`.
    """
    mask = decided(probability)
    classes = probability if probability.ndim == 3 else probability[None]
    sums = []
    for number, of_class in enumerate(classes, start=1):
        inside = mask == number if probability.ndim == 3 else mask
        sums.append([of_class[inside].sum(dtype=np.float64), inside.sum(), of_class.sum(dtype=np.float64)])
    return np.array(sums, np.float64)


def confidence_of(sums_C3: np.ndarray) -> float:
    """Return the confidence, given its sums over an image."""
    shown = sums_C3[sums_C3[:, 1] > 0]
    return float(np.mean(2 * shown[:, 0] / (shown[:, 1] + shown[:, 2]))) if len(shown) else 0.0


@dataclass(frozen=True)
class Calibration:
    """The line from confidence to expected Dice, both 0 to 1.

    Args:
        confidence: Mean confidence of the images.
        dice: Expected Dice at that confidence: the mean cross-fitted Dice of the images.
        slope: Increase of the expected Dice per increase of the confidence, at least 0.
        error: Typical error of the expected Dice of one image: root of the mean square over the images, each predicted
            by the line through all others.
        error_of_mean: The same error if the mean Dice of the other images is expected of each image.
        images: Number of images.
    """

    confidence: float
    dice: float
    slope: float
    error: float
    error_of_mean: float
    images: int

    @property
    def helps(self) -> bool:
        """Return whether the line is better than the mean Dice on images that it was not fitted to."""
        return self.error < self.error_of_mean

    def expected_dice(self, confidence: float) -> float:
        """Return the expected Dice of an image, given its confidence."""
        return float(np.clip(self.dice + self.slope * (confidence - self.confidence), 0, 1))


def calibrated(confidences: Sequence[float], dice: Sequence[float]) -> Calibration | None:
    """Fit the line by least squares, with the slope shrunk towards 0; None for fewer than two images.

    The slope is multiplied by max(0, 1 - (standard error / slope)^2), the nonnegative garrote for a single variable
    (Breiman 1995): with few images, or where confidence says little about Dice, the expected Dice is near the mean.

    Args:
        confidences: Confidence of each image, by models that were trained without it.
        dice: Dice of each of these predictions.
    """
    x, y = np.asarray(confidences, float), np.asarray(dice, float)
    if len(x) < 2:
        return None
    errors, errors_of_mean = [], []
    for one in range(len(x)):
        others = np.arange(len(x)) != one
        centre, mean, slope = _line(x[others], y[others])
        errors.append(y[one] - np.clip(mean + slope * (x[one] - centre), 0, 1))
        errors_of_mean.append(y[one] - mean)
    centre, mean, slope = _line(x, y)
    return Calibration(centre, mean, slope, _root_mean_square(errors), _root_mean_square(errors_of_mean), len(x))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return the means of x and y, and the slope."""
    centre, mean = float(x.mean()), float(y.mean())
    spread = float(((x - centre) ** 2).sum())
    if len(x) < FEWEST or spread == 0:
        return centre, mean, 0.0
    slope = float(((x - centre) * (y - mean)).sum()) / spread
    if slope <= 0:
        return centre, mean, 0.0
    residual = y - mean - slope * (x - centre)
    square_error = float((residual**2).sum()) / (len(x) - 2) / spread
    return centre, mean, slope * max(0.0, 1 - square_error / slope**2)


def _root_mean_square(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
