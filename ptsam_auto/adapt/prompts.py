"""How learned prompts start out: `decoder_prompts` and `encoder_prompts`. A click or a box is a user prompt."""

# P prompts  L layers  D encoder width

import math

import torch
from segment_anything.modeling import ImageEncoderViT

from ptsam_auto.sam.generalist import DECODER_WIDTH, PATCH


def new_decoder_prompts(count: int, std: float, generator: torch.Generator) -> torch.Tensor:
    """Prompts for the mask decoder, P 256, drawn from a normal distribution.

    Args:
        count: P, n_md in the paper (8 in Sec. 4.1.3).
        std: the paper is silent; what we chose and why stands in the defaults file.
        generator: on the CPU, so that a seed means the same prompts on every device.
    """
    return torch.randn(count, DECODER_WIDTH, generator=generator) * std


def new_encoder_prompts(encoder: ImageEncoderViT, count: int, generator: torch.Generator) -> torch.Tensor:
    """Deep prompts for every layer of the image encoder, L P D, as VPT draws them.

    Uniform within +-sqrt(6 / (3 patch^2 + D)): the Xavier bound of the patch embedding, 0.0625 in ViT-B.

    Args:
        encoder: for its depth and width.
        count: P, n_ie in the paper (8 in Sec. 4.1.3).
        generator: on the CPU, see `new_decoder_prompts`.
    """
    width = encoder.pos_embed.shape[-1]
    bound = math.sqrt(6 / (3 * PATCH**2 + width))
    values = torch.rand(len(encoder.blocks), count, width, generator=generator) * 2 - 1
    return values * bound
