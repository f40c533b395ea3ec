"""A mixture of models: the weighted mean of their foreground probabilities."""

# H W size of an image, px  C classes  M models  R maps

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ptsam_auto.methods.appearance import Appearance
from ptsam_auto.methods.model import Model
from ptsam_auto.methods.prompt_free import PromptFreeSam, blend
from ptsam_auto.metrics.classes import decided


class Mixture:
    """Weighted mean of the foreground probabilities of one or more models.

    Models on the same frozen SAM that see the same tiles share its features: each tile is encoded once.

    Args:
        models: One or more models, on one device.
        weights: Weight of each model; the sum is 1.
    """

    def __init__(self, models: Sequence[Model], weights: Sequence[float]) -> None:
        self.models, self.weights = tuple(models), tuple(weights)

    @property
    def device(self) -> torch.device:
        """Return the device of the models."""
        return self.models[0].device

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W or C H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""
        return mixed_probabilities([self], image)[0]

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool or class numbers) of an image (H W 3, uint8, RGB)."""
        return decided(self.probability(image))

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by name; the name begins with the number of the model, from 0."""
        return {
            f"{number}.{name}": parameter
            for number, model in enumerate(self.models)
            for name, parameter in model.trainable().items()
        }


def mixed_probabilities(
    mixtures: Sequence[Mixture], image: np.ndarray, appearance: Appearance | None = None
) -> np.ndarray:
    """Return the foreground probability of each of R mixtures in an image, R H W or R C H W, float32, 0 to 1.

    All models that share the features of a frozen SAM use one encoding of each tile, also those of different mixtures.

    Args:
        mixtures: R mixtures.
        image: Image, H W 3, uint8, RGB.
        appearance: Collector of the descriptor of the image, as the first model of the first mixture encodes it, or
            None. That model must be based on SAM.
    """
    models, mixing = mixing_of(mixtures)
    total: np.ndarray | None = None
    for indices in shared_features(models):
        part = _group_probabilities(
            [models[index] for index in indices], mixing[:, indices], image, appearance if 0 in indices else None
        )
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # There is at least one mixture.
    return total


def mixing_of(mixtures: Sequence[Mixture]) -> tuple[list[Model], np.ndarray]:
    """Return the models of all mixtures, and the weight of each model in the map of each mixture, R M."""
    models = [model for mixture in mixtures for model in mixture.models]
    owners = [row for row, mixture in enumerate(mixtures) for _ in mixture.models]
    mixing = np.zeros((len(mixtures), len(models)), np.float32)
    mixing[owners, range(len(models))] = [weight for mixture in mixtures for weight in mixture.weights]
    return models, mixing


def shared_features(models: Sequence[Model]) -> list[list[int]]:
    """Return the indices of the models in groups that share the features of their tiles."""
    groups: dict[object, list[int]] = {}
    for index, model in enumerate(models):
        key: object = index
        if isinstance(model, PromptFreeSam) and model.encoder_is_frozen:
            key = (id(model.sam), model.tiling)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _group_probabilities(
    group: Sequence[Model], mixing: np.ndarray, image: np.ndarray, appearance: Appearance | None
) -> np.ndarray:
    """Return the weighted sums of the probabilities of models that share their features, R H W or R C H W, float32."""
    height, width = image.shape[:2]
    on_sam = [model for model in group if isinstance(model, PromptFreeSam)]
    if not on_sam:
        return mixing[:, :1, None] * group[0].probability(image)[None]
    features = on_sam[0].tile_features(image)
    if appearance is not None:
        features = appearance.watched(on_sam[0], features, height, width)
    return blend(on_sam, features, height, width, mixing)


def mean_probability(probabilities: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the weighted mean of probability maps, H W or C H W, float32.

    Args:
        probabilities: Maps, each H W or C H W, 0 to 1.
        weights: Weight of each map; the sum is 1.
    """
    mean = np.zeros(probabilities[0].shape, np.float32)
    for probability, weight in zip(probabilities, weights, strict=True):
        mean += np.float32(weight) * probability
    return mean
