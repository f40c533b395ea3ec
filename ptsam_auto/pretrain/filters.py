"""What simple filters see: concepts that any image has, labelled or not.

People tell plants from soil by colour and membranes from cytoplasm by dark ridges. A network that was only ever asked
for objects may throw both away; asked for them, it keeps them where a prompt can reach them.
"""

# h w  an image's frame in px

from collections.abc import Callable

import cv2
import numpy as np

FAINT = 1.5  # standard deviation of a response, in units of L*a*b*: below it there is nothing to see
STANDS_OUT = 1.0  # standard deviations above the image's mean

Filter = Callable[[np.ndarray], np.ndarray]


def smoothed(channel: int, sign: float, sigma: float) -> Filter:
    """Light (channel 0), red against green (1) or yellow against blue (2); `sign` -1 turns it round."""
    return lambda lab_hw3: sign * _blurred(lab_hw3[..., channel], sigma)


def colourfulness(sigma: float) -> Filter:
    """Distance from grey."""
    return lambda lab_hw3: _blurred(np.hypot(lab_hw3[..., 1], lab_hw3[..., 2]), sigma)


def ridge(sign: float, sigma: float) -> Filter:
    """Lines about two sigma wide, bright (1) or dark (-1): the second derivative across them."""

    def response(lab_hw3: np.ndarray) -> np.ndarray:
        light = _blurred(lab_hw3[..., 0], sigma)
        xx, yy, xy = (cv2.Sobel(light, cv2.CV_32F, *order, ksize=3) for order in ((2, 0), (0, 2), (1, 1)))
        spread = np.hypot((xx - yy) / 2, xy)
        across = (xx + yy) / 2 - sign * spread  # the eigenvalue that is largest in the wanted sense
        return np.maximum(-sign * sigma**2 * across, 0)

    return response


def blob(sign: float, sigma: float) -> Filter:
    """Spots about three sigma wide, bright (1) or dark (-1): against their surroundings."""
    return lambda lab_hw3: sign * (_blurred(lab_hw3[..., 0], sigma) - _blurred(lab_hw3[..., 0], 2 * sigma))


def edge(sigma: float) -> Filter:
    """How steeply light changes."""

    def response(lab_hw3: np.ndarray) -> np.ndarray:
        light = _blurred(lab_hw3[..., 0], sigma)
        return sigma * np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)) / 4

    return response


def roughness(fine: float, sigma: float) -> Filter:
    """How much light varies on a scale below `fine` px, over `sigma` px around."""

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


def lab(image_hw3: np.ndarray) -> np.ndarray:
    """What filters look at: L*a*b*, float32, of uint8 RGB."""
    return cv2.cvtColor(image_hw3.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def filtered(image_hw3: np.ndarray, name: str) -> np.ndarray | None:
    """Where the filter of that name answers clearly more than elsewhere in the image: h w bool; None if nowhere.

    Args:
        image_hw3: uint8, RGB.
        name: of FILTERS.
    """
    response = FILTERS[name](lab(image_hw3))
    spread = float(response.std())
    return response > response.mean() + STANDS_OUT * spread if spread >= FAINT else None


def _blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), sigma)
