"""Responses of simple image filters, used as concepts for any image with or without labels.

Plants differ from soil by colour, and membranes from cytoplasm by dark ridges. A network that is only trained to find
objects may lose both in its features; tasks that require them keep them available for prompts.
"""

# h w  size of a scaled image in px

from collections.abc import Callable

import cv2
import numpy as np

MIN_SPREAD = 1.5  # standard deviation of a response, in units of L*a*b*; below it the filter does not respond
THRESHOLD = 1.0  # standard deviations above the image's mean

Filter = Callable[[np.ndarray], np.ndarray]


def smoothed(channel: int, sign: float, sigma: float) -> Filter:
    """Return a filter for lightness (channel 0), red minus green (1) or yellow minus blue (2); sign -1 inverts it."""
    return lambda lab_hw3: sign * _blurred(lab_hw3[..., channel], sigma)


def colourfulness(sigma: float) -> Filter:
    """Return a filter for the distance from grey."""
    return lambda lab_hw3: _blurred(np.hypot(lab_hw3[..., 1], lab_hw3[..., 2]), sigma)


def ridge(sign: float, sigma: float) -> Filter:
    """Return a filter for bright (1) or dark (-1) lines about two sigma wide: the second derivative across them."""

    def response(lab_hw3: np.ndarray) -> np.ndarray:
        light = _blurred(lab_hw3[..., 0], sigma)
        xx, yy, xy = (cv2.Sobel(light, cv2.CV_32F, *order, ksize=3) for order in ((2, 0), (0, 2), (1, 1)))
        spread = np.hypot((xx - yy) / 2, xy)
        across = (xx + yy) / 2 - sign * spread  # eigenvalue of the Hessian for this sign
        return np.maximum(-sign * sigma**2 * across, 0)

    return response


def blob(sign: float, sigma: float) -> Filter:
    """Return a filter for bright (1) or dark (-1) spots about three sigma wide: the difference to the surroundings."""
    return lambda lab_hw3: sign * (_blurred(lab_hw3[..., 0], sigma) - _blurred(lab_hw3[..., 0], 2 * sigma))


def edge(sigma: float) -> Filter:
    """Return a filter for the gradient of lightness."""

    def response(lab_hw3: np.ndarray) -> np.ndarray:
        light = _blurred(lab_hw3[..., 0], sigma)
        return sigma * np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)) / 4

    return response


def roughness(fine: float, sigma: float) -> Filter:
    """Return a filter for the variation of lightness on a scale below `fine` px, within `sigma` px."""

    def response(lab_hw3: np.ndarray) -> np.ndarray:
        detail = lab_hw3[..., 0] - _blurred(lab_hw3[..., 0], fine)
        return np.sqrt(_blurred(detail**2, sigma))

    return response


FILTERS: dict[str, Filter] = {
    f"filter/{name}": response
    for name, response in {
        "bright, fine": smoothed(0, 1, 1.5),
        "bright, coarse": smoothed(0, 1, 6),
        "dark, fine": smoothed(0, -1, 1.5),
        "dark, coarse": smoothed(0, -1, 6),
        "red": smoothed(1, 1, 2),
        "green": smoothed(1, -1, 2),
        "yellow": smoothed(2, 1, 2),
        "blue": smoothed(2, -1, 2),
        "colourful": colourfulness(2),
        "dark ridge, fine": ridge(-1, 1.5),
        "dark ridge, coarse": ridge(-1, 3),
        "bright ridge, fine": ridge(1, 1.5),
        "bright ridge, coarse": ridge(1, 3),
        "dark spot": blob(-1, 4),
        "bright spot": blob(1, 4),
        "edge, fine": edge(1.5),
        "edge, coarse": edge(4),
        "rough, fine": roughness(2, 5),
        "rough, coarse": roughness(5, 10),
    }.items()
}


def to_lab(image_hw3: np.ndarray) -> np.ndarray:
    """Convert a uint8 RGB image to L*a*b*, float32, the input of the filters."""
    return cv2.cvtColor(image_hw3.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def filter_mask(image_hw3: np.ndarray, name: str) -> np.ndarray | None:
    """Return the pixels where a filter responds clearly more than in the rest of the image.

    Args:
        image_hw3: Image, uint8, RGB.
        name: Name of a filter in FILTERS.

    Returns:
        h w bool, or None if the filter does not respond.
    """
    response = FILTERS[name](to_lab(image_hw3))
    spread = float(response.std())
    return response > response.mean() + THRESHOLD * spread if spread >= MIN_SPREAD else None


def _blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), sigma)
