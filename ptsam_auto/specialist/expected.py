"""The expected Dice on new images, with an interval, corrected for the optimism of choosing the best of several.

The correction is bootstrap bias-corrected cross-validation (Tsamardinos, Greasidou and Borboudakis 2018): the choice is
repeated on samples of the images, drawn with replacement, and measured on the images outside of each sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SAMPLES = 1000  # number of bootstrap samples
LEVEL = 0.95


@dataclass(frozen=True)
class Expected:
    """The expected mean Dice on new images of the same kind, 0 to 1.

    Args:
        dice: Expected mean Dice.
        low: Lower end of the 95 % interval of the mean.
        high: Upper end of the 95 % interval of the mean.
        optimism: Difference between the cross-fitted Dice of the chosen member and the corrected one.
    """

    dice: float
    low: float
    high: float
    optimism: float


def expectation(chosen: Sequence[float], candidates: Sequence[Sequence[float]], seed: int = 0) -> Expected | None:
    """Return the expected Dice, or None for a single image.

    Args:
        chosen: Cross-fitted Dice of each image, for the chosen member or mixture.
        candidates: The same for everything that was compared.
        seed: Random seed of the samples.
    """
    images = len(chosen)
    if images < 2:
        return None
    dice = np.asarray(chosen)
    distinct = np.unique(np.asarray(candidates), axis=0)  # Equal candidates leave no choice.
    optimism = _optimism(distinct, seed) if len(distinct) > 1 else 0.0
    mean = float(dice.mean()) - optimism
    half = float(stats.t.ppf((1 + LEVEL) / 2, images - 1) * dice.std(ddof=1) / np.sqrt(images))
    return Expected(mean, max(0.0, mean - half), min(1.0, mean + half), optimism)


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
