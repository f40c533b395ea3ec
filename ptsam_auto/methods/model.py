"""The interface of a trained model."""

from typing import Protocol

import numpy as np
import torch
from torch import nn


class Model(Protocol):
    """A trained model: prompts on a SAM, an nnU-Net, a threshold. H W is the size of an image in px, C classes."""

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W, float32, 0 to 1) of an image (H W 3, uint8, RGB).

        With several classes it is the probability of each, C H W.
        """

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask of an image (H W 3, uint8, RGB): H W, bool, True is foreground; or class numbers, uint8."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by name; these are saved with a specialist."""
