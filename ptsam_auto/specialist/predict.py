"""An image of any size to its mask, at the image's own size."""

import numpy as np
import torch

from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import frame, resize, to_input, to_original


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
    inside = frame(height, width, model.image_size)
    batch = to_input(model.sam, resize(image, *inside), model.image_size)[None]
    logits = model.decode(model.encode(batch))[0]
    return to_original(logits, inside, (height, width), model.image_size).sigmoid().cpu().numpy()


def predict(model: PromptFreeSam, image: np.ndarray) -> np.ndarray:
    """The mask of an H W 3 uint8 RGB image: H W, bool, True is foreground."""
    return probability(model, image) > 0.5
