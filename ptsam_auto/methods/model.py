"""The interface of a trained model."""

from typing import Protocol

import numpy as np
import torch
from torch import nn


class Model(Protocol):
    """A trained model: prompts on a SAM, an nnU-Net, a threshold. H W is the size of an image in px."""

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool, True is foreground) of an image (H W 3, uint8, RGB)."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by name; these are saved with a specialist."""
