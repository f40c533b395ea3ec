"""The training loss: 0.2 cross-entropy + 0.8 Dice (Sec. 4.1.3, after SAMed)."""

# B images  h w resolution of the loss

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass(frozen=True)
class Loss:
    """A loss and its two parts, scalars."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor

    def detached(self) -> "Loss":
        """Return the same values without their graph."""
        return Loss(self.total.detach(), self.cross_entropy.detach(), self.dice.detach())


def segmentation_loss(
    logits_Bhw: Tensor,
    target_Bhw: Tensor,
    inside_Bhw: Tensor,
    cross_entropy_weight: float,
    group: WorkerGroup = SINGLE_WORKER,
) -> Loss:
    """Return the weighted sum of cross-entropy and soft Dice, computed over image pixels only (not over padding).

    Dice is computed over the whole batch, as in SAMed, so that an augmented view without foreground also counts.

    Args:
        logits_Bhw: Mask logits; above 0 is foreground.
        target_Bhw: Fraction of foreground in each pixel, 0 to 1.
        inside_Bhw: 1 inside the image, 0 in the padding.
        cross_entropy_weight: Weight of the cross-entropy; the weight of Dice is 1 minus this.
        group: Workers that share the batch; the loss is computed over the whole batch.
    """
    pixelwise = F.binary_cross_entropy_with_logits(logits_Bhw, target_Bhw, reduction="none")
    probability = logits_Bhw.sigmoid() * inside_Bhw
    target = target_Bhw * inside_Bhw
    parts = [pixelwise * inside_Bhw, inside_Bhw, probability * target, probability.square(), target.square()]
    cross_entropy_sum, area, intersection, predicted_sum, target_sum = group.sum(
        torch.stack([part.sum() for part in parts])
    )
    cross_entropy = cross_entropy_sum / area
    # The smoothing constant 1 makes Dice defined for a batch without foreground.
    dice = 1 - (2 * intersection + 1) / (predicted_sum + target_sum + 1)
    return Loss(cross_entropy_weight * cross_entropy + (1 - cross_entropy_weight) * dice, cross_entropy, dice)
