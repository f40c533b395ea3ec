"""The training loss: 0.2 cross-entropy + 0.8 Dice (Sec. 4.1.3, after SAMed)."""

# B images  C classes  h w resolution of the loss

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.methods.prompt_free import class_probabilities
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
    logits: Tensor,
    target: Tensor,
    inside_Bhw: Tensor,
    cross_entropy_weight: float,
    group: WorkerGroup = SINGLE_WORKER,
) -> Loss:
    """Return the weighted sum of cross-entropy and soft Dice, computed over image pixels only (not over padding).

    Dice is computed over the whole batch, as in SAMed, so that an augmented view without foreground also counts. With
    several classes it is the mean over the classes, and the cross-entropy is that of all classes and the background.

    Args:
        logits: Mask logits, B h w, above 0 is foreground; or B C h w, see `methods.prompt_free.class_probabilities`.
        target: Fraction of foreground, or of each class, in each pixel, 0 to 1; the shape of `logits`.
        inside_Bhw: 1 inside the image, 0 in the padding.
        cross_entropy_weight: Weight of the cross-entropy; the weight of Dice is 1 minus this.
        group: Workers that share the batch; the loss is computed over the whole batch.
    """
    logits_BChw, target_BChw = (part if part.dim() == 4 else part[:, None] for part in (logits, target))
    inside_BChw = inside_Bhw[:, None]
    if logits_BChw.shape[1] == 1:
        pixelwise = F.binary_cross_entropy_with_logits(logits_BChw, target_BChw, reduction="none")
    else:
        # The logit of the background is 0.
        largest = F.pad(logits_BChw, (0, 0, 0, 0, 1, 0)).logsumexp(dim=1, keepdim=True)
        pixelwise = largest - (target_BChw * logits_BChw).sum(dim=1, keepdim=True)
    probability = class_probabilities(logits_BChw) * inside_BChw
    target_BChw = target_BChw * inside_BChw
    of_classes = [probability * target_BChw, probability.square(), target_BChw.square()]
    of_pixels = [pixelwise * inside_BChw, inside_BChw]
    sums = [*(part.sum(dim=(0, 2, 3)) for part in of_classes), *(part.sum()[None] for part in of_pixels)]
    intersection_C, predicted_C, true_C, cross_entropy_sum, area = group.sum(torch.cat(sums)).split(
        [len(part) for part in sums]
    )
    cross_entropy = (cross_entropy_sum / area)[0]
    # The smoothing constant 1 makes Dice defined for a batch without foreground.
    dice = (1 - (2 * intersection_C + 1) / (predicted_C + true_C + 1)).mean()
    return Loss(cross_entropy_weight * cross_entropy + (1 - cross_entropy_weight) * dice, cross_entropy, dice)
