"""How well a mask fits: Dice and IoU of one image, from counts."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Pixels of one image, by what was predicted and what is true."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray) -> "Counts":
        """Compare two bool masks of the same shape."""
        both = int(np.count_nonzero(predicted & truth))
        found, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
        return cls(both, found - both, there - both, truth.size - found - there + both)

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN), 0 to 1; 1 where there is nothing to find and nothing was found."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), 0 to 1; 1 where there is nothing to find and nothing was found."""
        total = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / total if total else 1.0

    @property
    def predicted_share(self) -> float:
        """Share of the image that was called foreground, 0 to 1."""
        return (self.true_positive + self.false_positive) / self.pixels

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative
