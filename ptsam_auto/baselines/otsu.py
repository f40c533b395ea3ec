"""Otsu's threshold, a baseline. Training only decides whether bright or dark pixels are foreground."""

# H W  size of an image in px

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from ptsam_auto.data.dataset import Pair
from ptsam_auto.metrics.dice import Counts
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.trainer import Trained


@dataclass(frozen=True)
class Otsu:
    """Segments each image at the grey value that separates its histogram best (Otsu 1979).

    Args:
        bright: If True, the pixels above the threshold are foreground; otherwise those at or below it are.
    """

    bright: bool

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return 1.0 for foreground and 0.0 for background, H W float32; a threshold gives no other values.

        Args:
            image: Image, H W 3, uint8, RGB.
        """
        return self.predict(image).astype(np.float32)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask of an H W 3 uint8 RGB image, H W bool."""
        grey_HW = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        threshold, _ = cv2.threshold(grey_HW, 0, 255, cv2.THRESH_OTSU)
        return (grey_HW > threshold) == self.bright

    @property
    def device(self) -> torch.device:
        """Return the CPU, the device of this model."""
        return torch.device("cpu")

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return no parameters: this model has none that a gradient could change."""
        return {}


@dataclass(frozen=True)
class OtsuTrainer:
    """Selects bright or dark foreground on the training images; see `training.trainer.Trainer`."""

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """Read every training image once."""
        began = time.perf_counter()
        chosen = choose_otsu(images)
        return Trained(chosen, seconds=time.perf_counter() - began)


def choose_otsu(pairs: Sequence[Pair]) -> Otsu:
    """Return the polarity with the higher mean Dice on the training images; bright if both are equal."""
    bright, dark = Otsu(bright=True), Otsu(bright=False)
    dice_difference = 0.0
    for pair in pairs:
        sample = pair.load()
        mask_HW = bright.predict(sample.image)
        dice_difference += Counts.of(mask_HW, sample.mask).dice - Counts.of(~mask_HW, sample.mask).dice
    return bright if dice_difference >= 0 else dark
