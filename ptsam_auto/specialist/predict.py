"""An image of any size to its mask, at the image's own size."""

import numpy as np
import torch

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
    height, width = image.shape[:2]
    total, weight = np.zeros((2, height, width), np.float32)
    for box in tiles(height, width, model.tiles, model.image_size):
        answer = _of_tile(model, image[box])
        say = ramp(*answer.shape)
        total[box] += say * answer
        weight[box] += say
    return total / weight


def _of_tile(model: PromptFreeSam, tile: np.ndarray) -> np.ndarray:
    height, width = tile.shape[:2]
    inside = frame(height, width, model.image_size)
    batch = to_input(model.sam, resize(tile, *inside), model.image_size)[None]
    logits = model.decode(model.encode(batch))[0]
    return to_original(logits, inside, (height, width), model.image_size).sigmoid().cpu().numpy()


def predict(model: PromptFreeSam, image: np.ndarray) -> np.ndarray:
    """The mask of an H W 3 uint8 RGB image: H W, bool, True is foreground."""
    return probability(model, image) > 0.5
