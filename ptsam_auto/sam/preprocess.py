"""Between images of any size and the network's square input, as SAM does it.

The longest side is scaled to S, the rest is padded with zeros at the bottom and right.
"""

# S network input side, px  h w an image's own frame inside that square, px

import cv2
import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F


def frame(height: int, width: int, image_size: int) -> tuple[int, int]:
    """Height and width, px, that an image takes up in the network's square input."""
    return ResizeLongestSide.get_preprocess_shape(height, width, image_size)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An H W 3 uint8 image at another size; shrinking averages, so that fine texture does not alias."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def to_input(sam: Sam, image_hw3: np.ndarray, image_size: int) -> Tensor:
    """An image already in its frame (uint8, RGB) as the network's input, 3 S S float32."""
    pixels = torch.tensor(image_hw3, device=sam.pixel_mean.device).permute(2, 0, 1)
    normalised = (pixels - sam.pixel_mean) / sam.pixel_std
    height, width = image_hw3.shape[:2]
    return F.pad(normalised, (0, image_size - width, 0, image_size - height))


def to_original(logits: Tensor, inside: tuple[int, int], original: tuple[int, int], image_size: int) -> Tensor:
    """One image's logits from the decoder's resolution to the image's own, H W.

    Args:
        logits: S/4 S/4.
        inside: the frame (h, w) the image took up.
        original: (H, W), px.
        image_size: S.
    """
    full = F.interpolate(logits[None, None], (image_size, image_size), mode="bilinear", align_corners=False)
    cropped = full[..., : inside[0], : inside[1]]
    return F.interpolate(cropped, original, mode="bilinear", align_corners=False)[0, 0]
