"""Pixel normalisation; training and prediction use the same function."""

# h w size of the scaled image inside the network's square input, px

from typing import Literal

from torch import Tensor

# Two normalisations: "mean and deviation" of SAM's training images, per channel; or "own range", which scales each
# image to 0 to 1 from its darkest value to its brightest, as in the training of MedSAM and LiteMedSAM.
Pixels = Literal["mean and deviation", "own range"]


def normalised(pixels_3hw: Tensor, how: Pixels, mean_311: Tensor, deviation_311: Tensor) -> Tensor:
    """Return the pixels of one image, normalised as in the training of the network, 3 h w float32.

    Args:
        pixels_3hw: Pixels, 0 to 255, RGB, without any padding.
        how: Normalisation that the network was trained with.
        mean_311: Mean of each channel; used only for "mean and deviation".
        deviation_311: Standard deviation of each channel; used only for "mean and deviation".
    """
    if how == "own range":
        low, high = pixels_3hw.float().aminmax()
        # An image of one colour is 0 everywhere.
        return (pixels_3hw - low) / (high - low).clamp(min=1)
    return (pixels_3hw - mean_311) / deviation_311
