"""Predicts an image from top to bottom, so that neither the image nor its maps need to fit into memory."""

# H W size of an image, px  C classes  R maps  h rows of a part, px

from collections.abc import Iterator, Sequence

import numpy as np

from ptsam_auto.methods.mixture import Mixture, mixing_of, shared_features
from ptsam_auto.methods.prompt_free import PromptFreeSam, blended_rows
from ptsam_auto.sam.tiles import Pixels


def predicts_by_rows(mixture: Mixture) -> bool:
    """Return whether a mixture can be asked for `probability_rows`: whether all its models are based on SAM."""
    return all(isinstance(model, PromptFreeSam) for model in mixture.models)


def probability_rows(mixtures: Sequence[Mixture], image: Pixels, start: int = 0) -> Iterator[np.ndarray]:
    """Yield the foreground probability by each of R mixtures in parts, from row `start` to the last row.

    A part is R h W or R C h W, float32, 0 to 1. The numbers are those of `mixed_probabilities`, bit by bit.

    Args:
        mixtures: R mixtures for which `predicts_by_rows` is true.
        image: Image, H W 3, uint8, RGB, as an array or read by regions.
        start: First row of pixels.
    """
    height, width = image.shape[:2]
    models, mixing = mixing_of(mixtures)
    parts = []
    for indices in shared_features(models):
        group = [model for model in (models[index] for index in indices) if isinstance(model, PromptFreeSam)]
        features = group[0].tile_features(image, start)
        parts.append(blended_rows(group, features, height, width, mixing[:, indices], start))
    # Groups with other tiles finish other rows at a time.
    waiting = [next(rows) for rows in parts]
    done = start
    while True:
        count = min(rows.shape[-2] for rows in waiting)
        total = waiting[0][..., :count, :]
        for rows in waiting[1:]:
            total = total + rows[..., :count, :]
        yield total
        done += count
        if done == height:
            return
        waiting = [
            rows[..., count:, :] if rows.shape[-2] > count else next(part)
            for rows, part in zip(waiting, parts, strict=True)
        ]
