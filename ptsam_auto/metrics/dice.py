"""Dice and IoU of one mask, computed from pixel counts."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Numbers of pixels of one image, by predicted and true class."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None = None) -> "Counts":
        """Compare two bool masks of the same shape; pixels marked in `ignored` are not counted."""
        if ignored is not None:
            predicted, truth = predicted[~ignored], truth[~ignored]
        both = int(np.count_nonzero(predicted & truth))
        predicted_count, true_count = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
        return cls(both, predicted_count - both, true_count - both, truth.size - predicted_count - true_count + both)

    @property
    def dice(self) -> float:
        """Return 2 TP / (2 TP + FP + FN), 0 to 1; 1 if both masks are empty."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def iou(self) -> float:
        """Return TP / (TP + FP + FN), 0 to 1; 1 if both masks are empty."""
        total = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / total if total else 1.0

    @property
    def predicted_share(self) -> float:
        """Return the fraction of the counted pixels that was predicted as foreground, 0 to 1."""
        return (self.true_positive + self.false_positive) / self.pixels if self.pixels else 0.0

    @property
    def pixels(self) -> int:
        """Return the number of pixels of the image that are not ignored."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative
