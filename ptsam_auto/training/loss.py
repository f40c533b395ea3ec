"""The training loss: 0.2 cross-entropy + 0.8 Dice (Sec. 4.1.3, after SAMed)."""

# B images  h w resolution of the loss

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.training.team import ALONE, Team


@dataclass(frozen=True)
class Loss:
    """A loss and its two parts, scalars."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor


def segmentation_loss(
    logits_Bhw: Tensor, target_Bhw: Tensor, inside_Bhw: Tensor, cross_entropy_weight: float, team: Team = ALONE
) -> Loss:
    """Weighted sum of cross-entropy and soft Dice, over what is image rather than padding.

    Dice is taken over the whole batch at once, as SAMed does: an augmented view without foreground then still counts.

    Args:
        logits_Bhw: above 0 is foreground.
        target_Bhw: 0 to 1, the share of foreground in each pixel.
        inside_Bhw: 1 inside the image, 0 in the padding.
        cross_entropy_weight: Dice has the rest.
        team: those who share the batch; the loss is that of all of it.
    """
    pixelwise = F.binary_cross_entropy_with_logits(logits_Bhw, target_Bhw, reduction="none")
    probability = logits_Bhw.sigmoid() * inside_Bhw
    target = target_Bhw * inside_Bhw
    parts = [pixelwise * inside_Bhw, inside_Bhw, probability * target, probability.square(), target.square()]
    surprise, area, overlap, found, wanted = team.sum(torch.stack([part.sum() for part in parts]))
    cross_entropy = surprise / area
    # The 1 keeps a batch without any foreground defined.
    dice = 1 - (2 * overlap + 1) / (found + wanted + 1)
    return Loss(cross_entropy_weight * cross_entropy + (1 - cross_entropy_weight) * dice, cross_entropy, dice)
