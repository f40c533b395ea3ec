"""Converts images to the square network input and predictions back to image size, as SAM does.

The longer side is scaled to S; the rest is padded with zeros at the bottom and right.
"""

# S network input side, px  h w size of the scaled image inside that square, px

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.sam.network import SamNetwork
from ptsam_auto.sam.pixels import normalised


def to_input(sam: SamNetwork, image_hw3: np.ndarray, image_size: int) -> Tensor:
    """Return the network's input for a scaled image (h w 3, uint8, RGB): normalised and padded, 3 S S float32."""
    pixels = torch.tensor(image_hw3, device=sam.pixel_mean.device).permute(2, 0, 1)
    height, width = image_hw3.shape[:2]
    pixels = normalised(pixels, sam.pixels, sam.pixel_mean, sam.pixel_std)
    return F.pad(pixels, (0, image_size - width, 0, image_size - height))


def to_original(logits: Tensor, inside: tuple[int, int], original: tuple[int, int], image_size: int) -> Tensor:
    """Scale the logits of one image from the decoder's resolution to the size of the image, H W.

    Args:
        logits: Logits at the decoder's resolution, which is S/4 in SAM and S in LiteMedSAM.
        inside: Size (h, w) of the scaled image inside the square input, px.
        original: Size (H, W) of the image, px.
        image_size: S, side of the square input, px.
    """
    full = F.interpolate(logits[None, None], (image_size, image_size), mode="bilinear", align_corners=False)
    cropped = full[..., : inside[0], : inside[1]]
    return F.interpolate(cropped, original, mode="bilinear", align_corners=False)[0, 0]
