"""Image resizing; training and prediction use the same function."""

import cv2
import numpy as np


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image at another size, height width 3, uint8.

    The image is reduced by area averaging, so that fine texture does not alias, and enlarged by bilinear
    interpolation.

    Args:
        image: Image, H W 3, uint8.
        height: New height, px.
        width: New width, px.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
