"""The training loss, as in SAM: mask loss of the best candidate mask, and the error of the predicted IoU."""

# B images  T tasks  k points  S input side, px  G = S / 16  A candidate masks per task  M = S / 2

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nano.auxiliary import AuxiliaryHeads
from nano.batches import Batch
from nano.tasks import PromptType
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.published import PromptEncoder, Sam

# The decoder's mask tokens: one for prompts with one correct mask, three for clicks, which are ambiguous.
SINGLE, CANDIDATES = slice(0, 1), slice(1, 4)
TOKENS: dict[PromptType, slice] = {
    "box": SINGLE,
    "group": SINGLE,
    "concept": SINGLE,
    "click": CANDIDATES,
    "clicks": CANDIDATES,
}


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one step, and numbers to report.

    Args:
        loss: Mean loss over all tasks plus the weighted detail error, scalar with gradient.
        iou: Mean IoU of the best candidate by prompt type, 0 to 1.
        quality_error: Mean squared error of the predicted IoU.
        detail_error: Detail error, see `AuxiliaryHeads.detail_error`.
    """

    loss: Tensor
    iou: dict[PromptType, float]
    quality_error: float
    detail_error: float


def batch_loss(
    sam: Sam, auxiliary: AuxiliaryHeads, batch: Batch, balance: float, detail_weight: float = 0.0
) -> BatchLoss:
    """Encode the batch once, predict the masks of all its tasks, and compare them with their targets.

    Args:
        sam: Network, with gradients.
        auxiliary: Auxiliary heads, with gradients; a concept's prompts are used in the decoder like a specialist's.
        batch: Batch of B images.
        balance: 1 weighs foreground and background equally in the cross-entropy, 0 weighs all pixels equally.
        detail_weight: Weight of the detail error.
    """
    images_B3SS = (batch.images - sam.pixel_mean) / sam.pixel_std
    features_B256GG = encode(sam.image_encoder, images_B3SS)
    detail_error = auxiliary.detail_error(images_B3SS, features_B256GG, batch.inside)
    total, tasks, iou, quality = features_B256GG.new_zeros(()), 0, {}, 0.0
    for prompt_type, prompts in batch.prompts.items():
        if prompt_type == "concept":
            prompts_TkD = auxiliary.concept_prompts_VPD.index_select(0, prompts.concepts)
        else:
            prompts_TkD = embed_points(sam.prompt_encoder, prompts.points, prompts.roles)
        # Not by [...]: for repeated images its gradient is summed by atomic adds, in another order in every run.
        features_T256GG = features_B256GG.index_select(0, prompts.image)
        logits_TAMM, predicted_TA = predict_masks(sam, features_T256GG, prompts_TkD, TOKENS[prompt_type])
        inside_TMM = batch.inside[prompts.image]
        mask_loss_TA = mask_loss(logits_TAMM, prompts.targets, inside_TMM, balance)
        iou_TA = masks_iou(logits_TAMM.detach() > 0, prompts.targets, inside_TMM)
        quality_loss = (predicted_TA - iou_TA).square().mean(1)
        total = total + (mask_loss_TA.amin(1) + quality_loss).sum()
        tasks += len(prompts.image)
        quality += float(quality_loss.detach().sum())
        iou[prompt_type] = float(iou_TA.amax(1).mean())
    return BatchLoss(total / tasks + detail_weight * detail_error, iou, quality / tasks, float(detail_error.detach()))


def predict_masks(sam: Sam, features_T256GG: Tensor, prompts_TkD: Tensor, tokens: slice) -> tuple[Tensor, Tensor]:
    """Return candidate masks at half the input's size (logits, T A M M) and their predicted IoU (T A).

    SAM's own decoder processes one image with many prompts. Here each task has its own image, so that a batch is one
    call.
    """
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    own_ND = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    T, G = len(prompts_TkD), features_T256GG.shape[-1]
    tokens_TND = torch.cat([own_ND.expand(T, -1, -1), prompts_TkD], dim=1)
    source = features_T256GG + prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
    positions = prompts.get_dense_pe().expand(T, -1, -1, -1)
    tokens_TND, source_TND = decoder.transformer(source, positions, tokens_TND)

    upscaled = decoder.output_upscaling(source_TND.transpose(1, 2).reshape(T, -1, G, G))
    heads = list(enumerate(decoder.output_hypernetworks_mlps))[tokens]
    kernels = torch.stack([head(tokens_TND[:, 1 + number]) for number, head in heads], dim=1)
    coarse = torch.einsum("tac,tchw->tahw", kernels, upscaled).float()
    logits_TAMM = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return logits_TAMM, decoder.iou_prediction_head(tokens_TND[:, 0])[:, tokens]


def embed_points(prompts: PromptEncoder, points_Tk2: Tensor, roles_Tk: Tensor) -> Tensor:
    """Return SAM's sparse embeddings (T k 256) of clicks, box corners and padding.

    Points are already centres of pixels. SAM's own interface adds half a pixel to integer clicks, and also to box
    corners, although the corners of a box around whole pixels lie on the edges of pixels.
    """
    codes = prompts.pe_layer.forward_with_coords(points_Tk2, prompts.input_image_size)
    roles = torch.stack([embedding.weight[0] for embedding in prompts.point_embeddings])
    padding = (roles_Tk < 0).unsqueeze(-1)
    return torch.where(padding, prompts.not_a_point_embed.weight, codes + F.embedding(roles_Tk.clamp(min=0), roles))


def mask_loss(logits_TAMM: Tensor, targets_TMM: Tensor, inside_TMM: Tensor, balance: float) -> Tensor:
    """Return the Dice loss plus cross-entropy of each candidate mask without padding, T A."""
    target = targets_TMM.unsqueeze(1).float()
    inside = inside_TMM.unsqueeze(1).float()
    probability = logits_TAMM.sigmoid() * inside
    both = (probability * target).sum((2, 3))
    dice = 1 - (2 * both + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)

    entropy = F.binary_cross_entropy_with_logits(logits_TAMM, target.expand_as(logits_TAMM), reduction="none") * inside
    foreground, area = target.sum((2, 3)), inside.sum((2, 3))
    on_foreground, everywhere = (entropy * target).sum((2, 3)), entropy.sum((2, 3))
    plain = everywhere / area
    balanced = (
        on_foreground / foreground.clamp(min=1) + (everywhere - on_foreground) / (area - foreground).clamp(min=1)
    ) / 2
    return dice + balance * balanced + (1 - balance) * plain


def masks_iou(masks_TAMM: Tensor, targets_TMM: Tensor, inside_TMM: Tensor) -> Tensor:
    """Return the IoU of each candidate mask with its target without padding, T A."""
    masks = masks_TAMM & inside_TMM.unsqueeze(1)
    targets = targets_TMM.unsqueeze(1)
    both = (masks & targets).sum((2, 3))
    either = (masks | targets).sum((2, 3))
    return both / either.clamp(min=1)
