"""Initial values of the learned `decoder_prompts` and `encoder_prompts`. Clicks and boxes are called user prompts."""

# P prompts  L layers  D width of a layer  V sum of the widths of all layers

import math

import torch

from ptsam_auto.sam.network import DECODER_WIDTH, PATCH
from ptsam_auto.sam.published import ImageEncoderViT
from ptsam_auto.sam.tiny_vit import TinyVit


def new_decoder_prompts(count: int, std: float, generator: torch.Generator) -> torch.Tensor:
    """Return prompts for the mask decoder, P 256, drawn from a normal distribution with mean 0.

    Args:
        count: P, n_md in the paper (8 in Sec. 4.1.3).
        std: Standard deviation. The paper gives no value; training/defaults.toml gives ours and its source.
        generator: CPU random generator, so that a seed gives the same prompts on every device.
    """
    return torch.randn(count, DECODER_WIDTH, generator=generator) * std


def new_encoder_prompts(encoder: ImageEncoderViT | TinyVit, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return deep prompts for every layer of the image encoder, initialised as in VPT: L P D, and for TinyViT P V.

    They are uniform within +-sqrt(6 / (3 patch^2 + D)): the Xavier bound of the patch embedding, 0.0625 in ViT-B.
    TinyViT embeds with two convolutions. Our reading: its patch size is the size (px) of the image region that one
    feature covers.

    Args:
        encoder: Image encoder, which determines the number of layers and their widths. The layers of TinyViT are its
            attention blocks.
        count: P, n_ie in the paper (8 in Sec. 4.1.3; 73,728 numbers on ViT-B, 14,848 on MobileSAM and LiteMedSAM).
        generator: CPU random generator, see `new_decoder_prompts`.
    """
    if isinstance(encoder, TinyVit):
        patch, widths = encoder.architecture.patch, encoder.architecture.block_widths
        bounds = torch.cat([torch.full((width,), _bound(patch, width)) for width in widths])
        return (torch.rand(count, sum(widths), generator=generator) * 2 - 1) * bounds
    width = encoder.pos_embed.shape[-1]
    values = torch.rand(len(encoder.blocks), count, width, generator=generator) * 2 - 1
    return values * _bound(PATCH, width)


def _bound(patch: int, width: int) -> float:
    return math.sqrt(6 / (3 * patch**2 + width))
