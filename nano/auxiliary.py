"""Auxiliary heads: parameters that are trained together with the network and are not exported with it."""

# B images  V concepts  P prompts of a concept  D = 256  S input side, px  G = S / 16

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.sam.network import DECODER_WIDTH

PROMPTS = 8  # prompts per concept, as many as a specialist has in the paper
PROMPT_STD = 0.1
DETAILS_PER_PATCH = 4  # pixels per side of a patch: details have S / 4 pixels per side, like the decoder's masks
DETAIL_CHANNELS = 4  # lightness, red minus green, blue minus yellow, contrast within the detail
MIN_DETAIL = 0.02  # standard deviation, in units of SAM's normalised pixels; below it an image counts as uniform


class AuxiliaryHeads(nn.Module):
    """Learned prompts for each concept, and a linear head that predicts image detail from the features.

    Args:
        concepts: V, number of concepts.
    """

    def __init__(self, concepts: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        start = PROMPT_STD * torch.randn(concepts, PROMPTS, DECODER_WIDTH, generator=generator)
        self.concept_prompts_VPD = nn.Parameter(start)
        self.detail_head = nn.Conv2d(DECODER_WIDTH, DETAIL_CHANNELS * DETAILS_PER_PATCH**2, 1)
        for parameter in self.detail_head.parameters():
            nn.init.zeros_(parameter)

    def detail_error(self, images_B3SS: Tensor, features_B256GG: Tensor, inside_BMM: Tensor) -> Tensor:
        """Return the fraction of fine image detail that the linear head cannot predict, scalar, 0 to about 1.

        No prompt can recover detail that is not in the features, and a frozen encoder is used for tasks that were
        unknown when it was trained.

        Args:
            images_B3SS: Normalised and padded images.
            features_B256GG: Features of these images.
            inside_BMM: True for image pixels, False for padding, at half the input's size.
        """
        inside = (F.avg_pool2d(inside_BMM[:, None].float(), 2) == 1).float()
        target = details(images_B3SS, inside)
        predicted = F.pixel_shuffle(self.detail_head(features_B256GG), DETAILS_PER_PATCH)
        return ((predicted - target).square() * inside).sum() / (DETAIL_CHANNELS * inside.sum())


@torch.no_grad()
def details(images_B3SS: Tensor, inside_B1: Tensor) -> Tensor:
    """Return lightness, two colour differences and contrast, B 4 S/4 S/4.

    Each has mean 0 and standard deviation 1 over the pixels of an image that are not padding.
    """
    red, green, blue = images_B3SS.unbind(1)
    light = images_B3SS.mean(1)
    stacked = torch.stack([light, red - green, blue - (red + green) / 2, light.square()], 1)
    coarse = F.avg_pool2d(stacked, DETAILS_PER_PATCH)
    contrast = (coarse[:, 3] - coarse[:, 0].square()).clamp(min=0).sqrt()
    channels = torch.cat([coarse[:, :3], contrast[:, None]], 1)
    area = inside_B1.sum((2, 3), keepdim=True).clamp(min=1)
    channels = channels - (channels * inside_B1).sum((2, 3), keepdim=True) / area
    spread = ((channels.square() * inside_B1).sum((2, 3), keepdim=True) / area).sqrt()
    return (channels / spread.clamp(min=MIN_DETAIL)).clamp(-4, 4) * inside_B1
