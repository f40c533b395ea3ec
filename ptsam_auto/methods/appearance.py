"""Describes how an image looks to a network: mean and standard deviation of the features of its encoder."""

# G patches per side  H W size of an image, px

import math
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from ptsam_auto.methods.prompt_free import PromptFreeSam


class Appearance:
    """Collects the descriptor of one image while its tiles are encoded. Padding is not counted.

    Images that look alike to the network have similar descriptors. The order of the patches has no effect.
    """

    def __init__(self) -> None:
        self._patches = 0
        self._sum = self._squares = np.zeros(256)

    def watched(
        self, model: PromptFreeSam, tile_features: Iterable[Tensor], height: int, width: int
    ) -> Iterator[Tensor]:
        """Yield the features of the tiles unchanged, and add each of them to the descriptor.

        Args:
            model: Model that has encoded the tiles.
            tile_features: Features of each tile, 256 G G, in the order of `PromptFreeSam.tile_features`.
            height: H, height of the image, px.
            width: W, width of the image, px.
        """
        size = model.image_size
        views = [(box, turn) for box in model.tiling.boxes(height, width, size) for turn in model.tiling.turns]
        for (box, turn), features in zip(views, tile_features, strict=True):
            shape = turn.shape(box[0].stop - box[0].start, box[1].stop - box[1].start)
            inside = model.tiling.frame(*shape, size)
            rows, columns = (math.ceil(side * features.shape[-1] / size) for side in inside)
            seen = features[:, :rows, :columns].flatten(1).float().cpu().numpy().astype(np.float64)
            self._patches += seen.shape[1]
            self._sum = self._sum + seen.sum(axis=1)
            self._squares = self._squares + (seen**2).sum(axis=1)
            yield features

    def descriptor(self) -> np.ndarray:
        """Return the mean of each of the 256 features over all patches, then their standard deviations; 512 float16."""
        mean = self._sum / self._patches
        deviation = np.sqrt(np.maximum(0, self._squares / self._patches - mean**2))
        return np.concatenate([mean, deviation]).astype(np.float16)
