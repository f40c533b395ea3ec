"""Tests whether a mask was drawn on an image with its EXIF orientation applied, or on the image as it is stored.

A camera stores its orientation in the file. Some tools rotate the image accordingly before a user draws a mask, others
do not. A mask that was drawn on the stored image fits the outlines of only the stored image.
"""

# H W  rows and columns, px

import cv2
import numpy as np

from ptsam_auto.data.raster import unturned

CLEARLY = 1.5  # ratio of the edges under the mask's outline in one orientation to those in the other
SOME = 1.2  # ratio of the edges under the mask's outline to the other edges of the image


def drawn_unturned(image: np.ndarray, mask: np.ndarray, orientation: int) -> bool:
    """Return whether a mask fits the image as it is stored, and not with its orientation applied.

    Args:
        image: Image with its orientation applied, H W 3, uint8.
        mask: Mask without an orientation, H W, bool.
        orientation: EXIF number of the image's orientation, not 1.
    """
    stored = unturned(image, orientation)
    if stored.shape[:2] != mask.shape:
        return False
    if image.shape[:2] != mask.shape:
        return True
    as_shown, as_stored = edges_under_outline(image, mask), edges_under_outline(stored, mask)
    return as_stored > SOME and as_stored > CLEARLY * as_shown


def turned_wrongly(image: np.ndarray, mask: np.ndarray, orientation: int) -> bool:
    """Return whether a mask fits its image only as it is stored, and not with the mask's own orientation applied.

    Args:
        image: Image without an orientation, H W 3, uint8.
        mask: Mask with its orientation applied, H W, bool.
        orientation: EXIF number of the mask's orientation, not 1.
    """
    stored = unturned(mask, orientation)
    if stored.shape != image.shape[:2]:
        return False
    if mask.shape != image.shape[:2]:
        return True
    as_turned, as_stored = edges_under_outline(image, mask), edges_under_outline(image, stored)
    return as_stored > SOME and as_stored > CLEARLY * as_turned


def edges_under_outline(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean strength of edges along a mask's outline, relative to that elsewhere; 0 without an outline."""
    outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    if not outline.any() or outline.all():
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return float(strength[outline].mean() / max(float(strength[~outline].mean()), 1e-6))
