"""The expected Dice on new images, with an interval, corrected for the choice and for steps that were not measured.

The optimism of choosing the best of several is that of bootstrap bias-corrected cross-validation (Tsamardinos,
Greasidou and Borboudakis 2018): the choice is repeated on samples of the images, drawn with replacement, and measured
on the images outside of each sample. If the specialist was trained with more steps than the models of the cross-fit,
what more steps were worth on other datasets is added, and how different that was makes the interval wider.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

SAMPLES = 1000  # number of bootstrap samples
LEVEL = 0.95


@dataclass(frozen=True)
class MoreSteps:
    """How the error, 1 - Dice, changes between the steps of the cross-fit and those of the specialist.

    Args:
        mean: Mean of the logarithm of the factor, over datasets; 0 for the same number of steps.
        deviation: Standard deviation of this logarithm over datasets.
        datasets: Number of datasets, at least 2.
    """

    mean: float
    deviation: float
    datasets: int


NONE_MISSING = MoreSteps(0.0, 0.0, 1000)


@dataclass(frozen=True)
class Expected:
    """The expected mean Dice on new images of the same kind, 0 to 1.

    Args:
        dice: Expected mean Dice.
        low: Lower end of the 95 % interval of the mean.
        high: Upper end of the 95 % interval of the mean.
        optimism: What was subtracted from the cross-fitted Dice for the choice of the best of several.
        more_steps: What was added for the steps that the models of the cross-fit did not have.
    """

    dice: float
    low: float
    high: float
    optimism: float
    more_steps: float = 0.0


def expectation(
    chosen: Sequence[float],
    candidates: Sequence[Sequence[float]],
    missing: MoreSteps = NONE_MISSING,
    seed: int = 0,
) -> Expected | None:
    """Return the expected Dice, or None for a single image.

    Args:
        chosen: Cross-fitted Dice of each image, for the chosen member or mixture.
        candidates: The same for everything that was compared, as it was compared.
        missing: What the steps are worth that the models of the cross-fit did not have.
        seed: Random seed of the samples.
    """
    images = len(chosen)
    if images < 2:
        return None
    dice = np.asarray(chosen)
    distinct = np.unique(np.asarray(candidates), axis=0)  # Equal candidates leave no choice.
    optimism = _optimism(distinct, seed) if len(distinct) > 1 else 0.0
    error = 1 - float(dice.mean())
    smaller = error * float(np.exp(missing.mean))
    of_images = stdtrit(images - 1, (1 + LEVEL) / 2) * dice.std(ddof=1) / np.sqrt(images)
    # One more dataset differs from their mean by their deviation, and their mean itself is not known better than this.
    of_one_more = missing.deviation * np.sqrt(1 + 1 / missing.datasets)
    of_steps = stdtrit(missing.datasets - 1, (1 + LEVEL) / 2) * smaller * of_one_more
    half, mean = float(np.hypot(of_images, of_steps)), 1 - smaller - optimism
    return Expected(mean, max(0.0, mean - half), min(1.0, mean + half), optimism, error - smaller)


def _optimism(candidates: np.ndarray, seed: int) -> float:
    """Return how much better the best of several looks on the images that chose it than on others, at least 0."""
    images, rng = candidates.shape[1], np.random.default_rng(seed)
    differences = []
    for _ in range(SAMPLES):
        sample = rng.integers(images, size=images)
        outside = np.setdiff1d(np.arange(images), sample)
        if len(outside):
            best = int(candidates[:, sample].mean(axis=1).argmax())
            differences.append(candidates[best, sample].mean() - candidates[best, outside].mean())
    return max(0.0, float(np.mean(differences)))
