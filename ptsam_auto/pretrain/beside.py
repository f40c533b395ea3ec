"""What is learned beside the network while it is pretrained, and left behind when it is exported."""

# B images  V concepts  P prompts of a concept  D = 256  S input side, px  G = S / 16

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.sam.generalist import DECODER_WIDTH

PROMPTS = 8  # of a concept, as many as a specialist has
PROMPT_STD = 0.1
FINE = 4  # details are S / 4 pixels a side, as the decoder's masks are
KINDS_OF_DETAIL = 4  # light, red against green, blue against yellow, contrast within the detail
FLAT = 0.02  # standard deviation, in units of SAM's normalised pixels, below which there is no detail to keep


class Beside(nn.Module):
    """Prompts of concepts, and a linear eye on the features.

    Args:
        concepts: V, how many things the network learns to be called to by a prompt of their own.
    """

    def __init__(self, concepts: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        start = PROMPT_STD * torch.randn(concepts, PROMPTS, DECODER_WIDTH, generator=generator)
        self.concepts_VPD = nn.Parameter(start)
        self.eye = nn.Conv2d(DECODER_WIDTH, KINDS_OF_DETAIL * FINE**2, 1)
        for parameter in self.eye.parameters():
            nn.init.zeros_(parameter)

    def detail_error(self, images_B3SS: Tensor, features_B256GG: Tensor, inside_BMM: Tensor) -> Tensor:
        """How much of each image's fine detail cannot be read off its features: 1 is all of it, 0 nothing.

        What a feature has lost no prompt can call back, and a frozen encoder has to serve tasks that nobody thought of.

        Args:
            images_B3SS: normalised and padded.
            features_B256GG: of these images.
            inside_BMM: where there is image rather than padding, at half the input's size.
        """
        inside = (F.avg_pool2d(inside_BMM[:, None].float(), 2) == 1).float()
        wanted = details(images_B3SS, inside)
        seen = F.pixel_shuffle(self.eye(features_B256GG), FINE)
        return ((seen - wanted).square() * inside).sum() / (KINDS_OF_DETAIL * inside.sum())


@torch.no_grad()
def details(images_B3SS: Tensor, inside_B1: Tensor) -> Tensor:
    """Light, two colours and contrast, B 4 S/4 S/4, each with mean 0 and standard deviation 1 where there is image."""
    red, green, blue = images_B3SS.unbind(1)
    light = images_B3SS.mean(1)
    coarse = F.avg_pool2d(torch.stack([light, red - green, blue - (red + green) / 2, light.square()], 1), FINE)
    contrast = (coarse[:, 3] - coarse[:, 0].square()).clamp(min=0).sqrt()
    kinds = torch.cat([coarse[:, :3], contrast[:, None]], 1)
    area = inside_B1.sum((2, 3), keepdim=True).clamp(min=1)
    kinds = kinds - (kinds * inside_B1).sum((2, 3), keepdim=True) / area
    spread = ((kinds.square() * inside_B1).sum((2, 3), keepdim=True) / area).sqrt()
    return (kinds / spread.clamp(min=FLAT)).clamp(-4, 4) * inside_B1
