"""An image of any size to its mask, at the image's own size."""

# H W an image's own size, px  G patches a side

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import frame, resize, to_input, to_original
from ptsam_auto.sam.tiles import ramp, tiles


@torch.no_grad()
def probability(model: PromptFreeSam, image: np.ndarray) -> np.ndarray:
    """The chance that each pixel is foreground, as the model sees it.

    Args:
        model: any method's.
        image: H W 3, uint8, RGB.

    Returns:
        H W, float32, 0 to 1.
    """
    return blend(model, (features[None] for features in tile_features(model, image)), *image.shape[:2])


@torch.no_grad()
def tile_features(model: PromptFreeSam, image: np.ndarray) -> Iterator[Tensor]:
    """The encoder's half: features, 256 G G, of each tile of an H W 3 uint8 RGB image in turn."""
    height, width = image.shape[:2]
    for box in tiles(height, width, model.tiles, model.image_size):
        tile = image[box]
        inside = frame(tile.shape[0], tile.shape[1], model.image_size)
        yield model.encode(to_input(model.sam, resize(tile, *inside), model.image_size)[None])[0]


@torch.no_grad()
def blend(model: PromptFreeSam, features_1256GG: Iterable[Tensor], height: int, width: int) -> np.ndarray:
    """The decoder's half: each tile's answer in its place, H W, float32, 0 to 1.

    Args:
        model: any method's.
        features_1256GG: of each tile, in the order of `tile_features`.
        height: H.
        width: W.
    """
    total, weight = np.zeros((2, height, width), np.float32)
    boxes = tiles(height, width, model.tiles, model.image_size)
    for box, features in zip(boxes, features_1256GG, strict=True):
        rows, columns = total[box].shape
        inside = frame(rows, columns, model.image_size)
        logits = model.decode(features)[0]
        answer = to_original(logits, inside, (rows, columns), model.image_size).sigmoid().cpu().numpy()
        say = ramp(rows, columns)
        total[box] += say * answer
        weight[box] += say
    return total / weight


def predict(model: PromptFreeSam, image: np.ndarray) -> np.ndarray:
    """The mask of an H W 3 uint8 RGB image: H W, bool, True is foreground."""
    return probability(model, image) > 0.5
