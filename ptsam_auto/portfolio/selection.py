"""Chooses one member or a mixture by greedy ensemble selection on cross-fitted predictions (Caruana et al. 2004).

Selection with few images overfits, so a mixture is chosen only if it is better than the best single member by more
than one standard error of the difference, paired over the images, and by enough to be worth its longer prediction.

Where the cross-fitted models had fewer steps than the specialist will have, members are compared as they will be: some
learn late. The error of a mixture changes with its steps as those of its members do, by their weights.
"""

# M members  C classes  N pixels of an image  R rounds

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ptsam_auto.metrics.classes import decided, masks_of

MAX_ROUNDS = 8  # largest number of parts of a mixture; a member can be several parts
TIE = 0.001  # difference of the mean Dice below which the cheaper member is chosen
WORTH = 0.005  # smallest gain of a mixture for which every image is predicted by more than one member
MAX_PIXELS = 1_000_000  # number of pixels of an image that the selection looks at


@dataclass(frozen=True)
class Image:
    """The cross-fitted predictions of an image by all members.

    Args:
        probabilities: Foreground probability of each member in each pixel, M N, or that of each class, M C N; 0 to 1.
        truth_N: Annotated mask, bool or class numbers; pixels that are ignored are left out.
    """

    probabilities: np.ndarray
    truth_N: np.ndarray

    @classmethod
    def of(cls, maps: Sequence[np.ndarray], truth: np.ndarray, ignored: np.ndarray) -> "Image":
        """Take the pixels of an image that are not ignored. A large image is looked at in every n-th row and column.

        Args:
            maps: Foreground probability of each member, H W, or that of each class, C H W.
            truth: Annotated mask, H W, bool or class numbers.
            ignored: Ignored pixels, H W, bool.
        """
        step = max(1, int(np.ceil(np.sqrt(truth.size / MAX_PIXELS))))
        kept = ~ignored[::step, ::step]
        pixels = np.stack([probability[..., ::step, ::step][..., kept] for probability in maps]).astype(np.float32)
        return cls(pixels, truth[::step, ::step][kept])


@dataclass(frozen=True)
class Selection:
    """The result of the selection.

    Args:
        weights: Weight of each member, in their order; the sum is 1.
        best_weights: Weights of the mixture with the best mean Dice, whether or not it is clearly better.
        dice: Cross-fitted Dice of each image with these weights.
        single: Index of the best single member.
        gain: Mean difference between the best mixture and the best single member, Dice, 0 to 1, as they will be.
        standard_error: Standard error of this difference, paired over the images.
        candidates: Dice of each image for everything that was compared, as it will be: the single members, then the
            mixtures.
    """

    weights: tuple[float, ...]
    best_weights: tuple[float, ...]
    dice: tuple[float, ...]
    single: int
    gain: float
    standard_error: float
    candidates: tuple[tuple[float, ...], ...]


def select(
    images: Sequence[Image], costs: Sequence[float], growth: Callable[[np.ndarray], float] = lambda weights: 0.0
) -> Selection:
    """Choose weights for the members.

    Args:
        images: One or more images with foreground.
        costs: Cost of a prediction with each member, in any unit; among equally good members the cheapest is chosen.
        growth: Function that returns the logarithm of the factor by which the error, 1 - Dice, of a mixture with these
            weights will change with the steps that its cross-fitted models did not have.
    """
    members = len(costs)

    def dice_of(weights: np.ndarray) -> np.ndarray:
        return with_more_steps(_dice(images, weights), growth(weights))

    singles = np.array([dice_of(np.eye(members)[member]) for member in range(members)])
    single = best_single(singles, costs)
    path, dice_of_path = _greedy(dice_of, single, singles)
    best = int(np.argmax(dice_of_path.mean(axis=1)))
    difference = dice_of_path[best] - singles[single]
    gain, error = float(difference.mean()), standard_error(difference)
    chosen = np.eye(members)[single]
    # A gain in one image alone is exactly one standard error, so rounding must not decide.
    if gain > max(error * (1 + 1e-6), WORTH):
        # The smallest mixture that is not clearly worse than the best one.
        for weights, of_mixture in zip(path, dice_of_path, strict=True):
            behind = dice_of_path[best] - of_mixture
            if behind.mean() <= standard_error(behind) and (of_mixture - singles[single]).mean() > WORTH:
                chosen = weights
                break
    return Selection(
        weights=tuple(map(float, chosen)),
        best_weights=tuple(map(float, path[best])),
        dice=tuple(map(float, _dice(images, chosen))),
        single=single,
        gain=gain,
        standard_error=error,
        candidates=tuple(tuple(map(float, row)) for row in [*singles, *dice_of_path]),
    )


def with_more_steps(dice: np.ndarray | float, growth: float) -> np.ndarray:
    """Return the Dice, 0 to 1, after the error has changed by a factor with this logarithm."""
    return np.asarray(1 - (1 - dice) * np.exp(growth))


def best_single(dice: np.ndarray, costs: Sequence[float]) -> int:
    """Return the index of the member with the best mean Dice; the cheapest of those that are equally good.

    Args:
        dice: Dice of each member and image, 0 to 1.
        costs: Cost of each member.
    """
    means = dice.mean(axis=1)
    equal = [member for member in range(len(costs)) if means[member] >= means.max() - TIE]
    return min(equal, key=lambda member: costs[member])


def standard_error(differences: np.ndarray) -> float:
    """Return the standard error of a mean of differences; infinite for a single difference."""
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("inf")


def _greedy(
    dice_of: Callable[[np.ndarray], np.ndarray], single: int, singles: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Add the member that helps most, again and again. Return the weights and the Dice of each round's mixture."""
    members = len(singles)
    counts = np.eye(members)[single]
    path, dice_of_path = [counts], [singles[single]]
    for _ in range(MAX_ROUNDS - 1):
        mixtures = [counts + np.eye(members)[member] for member in range(members)]
        dice = [dice_of(mixture / mixture.sum()) for mixture in mixtures]
        best = int(np.argmax([of_mixture.mean() for of_mixture in dice]))
        counts = mixtures[best]
        path.append(counts / counts.sum())
        dice_of_path.append(dice[best])
    return path, np.array(dice_of_path)


def _dice(images: Sequence[Image], weights: np.ndarray) -> np.ndarray:
    """Return the Dice of each image, for a mixture; with several classes the mean over those that the image shows."""
    used = np.flatnonzero(weights)
    result = []
    for image in images:
        probability = np.tensordot(weights[used].astype(np.float32), image.probabilities[used], axes=1)
        several = probability.ndim == 2
        # `decided` has two axes of pixels; here all pixels are in a row.
        predicted = decided(probability[..., None] if several else probability[None]).reshape(-1)
        classes = len(probability) if several else 1
        pairs = zip(masks_of(predicted, classes), masks_of(image.truth_N, classes), strict=True)
        dice = [_dice_of(one, truth) for one, truth in pairs if truth.any() or classes == 1]
        result.append(float(np.mean(dice)) if dice else _dice_of(predicted > 0, image.truth_N > 0))
    return np.array(result)


def _dice_of(predicted_N: np.ndarray, truth_N: np.ndarray) -> float:
    either = predicted_N.sum() + truth_N.sum()
    return 2 * float((predicted_N & truth_N).sum()) / float(either) if either else 1.0
