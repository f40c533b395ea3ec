"""How nano's answers are judged, as SAM's were: mask loss on the best of the candidates, and honesty about quality."""

# B images  T tasks  k points  S input side, px  G = S / 16  A answers (candidate masks) of a task  M = S / 2

from dataclasses import dataclass

import torch
from segment_anything.modeling import PromptEncoder, Sam
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.pretrain.batches import Batch
from ptsam_auto.pretrain.beside import Beside
from ptsam_auto.pretrain.tasks import Asked
from ptsam_auto.sam.encode import encode

# Which of the decoder's four mask tokens answer: one where the prompt says what is meant, three where it may not.
SINGLE, TRIO = slice(0, 1), slice(1, 4)
TOKENS: dict[Asked, slice] = {"box": SINGLE, "group": SINGLE, "concept": SINGLE, "click": TRIO, "clicks": TRIO}


@dataclass(frozen=True)
class Judged:
    """One step's loss and what people want to see of it.

    Args:
        loss: scalar with gradient; the mean over all tasks, and the weighted loss of detail.
        iou: by what was asked, the best candidate's mean IoU, 0 to 1.
        quality_error: mean squared error of the predicted IoU.
        detail_error: share of fine detail that cannot be read off the features.
    """

    loss: Tensor
    iou: dict[Asked, float]
    quality_error: float
    detail_error: float


def judge(sam: Sam, beside: Beside, batch: Batch, balance: float, detail: float = 0.0) -> Judged:
    """Encode the batch once, answer all its tasks, compare.

    Args:
        sam: with gradients.
        beside: with gradients; its concepts' prompts are for the decoder, as a specialist's are.
        batch: B images.
        balance: 1 weighs foreground and background equally in the cross-entropy, 0 weighs pixels equally.
        detail: weight of what the features lost of the images.
    """
    images_B3SS = (batch.images - sam.pixel_mean) / sam.pixel_std
    features_B256GG = encode(sam.image_encoder, images_B3SS)
    lost = beside.detail_error(images_B3SS, features_B256GG, batch.inside)
    total, tasks, iou, quality = features_B256GG.new_zeros(()), 0, {}, 0.0
    for asked, questions in batch.questions.items():
        if asked == "concept":
            prompts_TkD = beside.concepts_VPD.index_select(0, questions.concepts)
        else:
            prompts_TkD = embed(sam.prompt_encoder, questions.points, questions.roles)
        # Not by [...]: where images repeat, its gradient is summed by atomic adds, in another order at every run.
        features_T256GG = features_B256GG.index_select(0, questions.image)
        logits_TAMM, predicted_TA = answer(sam, features_T256GG, prompts_TkD, TOKENS[asked])
        inside_TMM = batch.inside[questions.image]
        mask_loss_TA = mask_loss(logits_TAMM, questions.answers, inside_TMM, balance)
        iou_TA = overlap(logits_TAMM.detach() > 0, questions.answers, inside_TMM)
        quality_loss = (predicted_TA - iou_TA).square().mean(1)
        total = total + (mask_loss_TA.amin(1) + quality_loss).sum()
        tasks += len(questions.image)
        quality += float(quality_loss.detach().sum())
        iou[asked] = float(iou_TA.amax(1).mean())
    return Judged(total / tasks + detail * lost, iou, quality / tasks, float(lost.detach()))


def answer(sam: Sam, features_T256GG: Tensor, prompts_TkD: Tensor, tokens: slice) -> tuple[Tensor, Tensor]:
    """Candidate masks at half the input's size (logits, T A M M) and their predicted IoU (T A).

    SAM's decoder takes one image with many prompts; here each task brings its image, so that a batch is one call.
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


def embed(prompts: PromptEncoder, points_Tk2: Tensor, roles_Tk: Tensor) -> Tensor:
    """SAM's sparse embeddings (T k 256) of clicks, box corners and padding alike.

    Points are pixel middles already, where SAM's own interface adds half a pixel to whole ones; it would add that to
    box corners too, and a box around whole pixels ends where they end.
    """
    codes = prompts.pe_layer.forward_with_coords(points_Tk2, prompts.input_image_size)
    roles = torch.stack([embedding.weight[0] for embedding in prompts.point_embeddings])
    padding = (roles_Tk < 0).unsqueeze(-1)
    return torch.where(padding, prompts.not_a_point_embed.weight, codes + F.embedding(roles_Tk.clamp(min=0), roles))


def mask_loss(logits_TAMM: Tensor, answers_TMM: Tensor, inside_TMM: Tensor, balance: float) -> Tensor:
    """Dice and cross-entropy of each candidate over what is image, T A."""
    target = answers_TMM.unsqueeze(1).float()
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


def overlap(masks_TAMM: Tensor, answers_TMM: Tensor, inside_TMM: Tensor) -> Tensor:
    """IoU of each candidate over what is image, T A."""
    masks = masks_TAMM & inside_TMM.unsqueeze(1)
    answers = answers_TMM.unsqueeze(1)
    both = (masks & answers).sum((2, 3))
    either = (masks | answers).sum((2, 3))
    return both / either.clamp(min=1)
