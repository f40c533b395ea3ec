"""Simulates the recording of a rendered image by an instrument: light, colour, blur, noise, compression."""

# H W  a scene's size in px; pictures are float32 RGB, about 0 to 1

import cv2
import numpy as np

from nano.scenes.textures import rgb, vignette
from ptsam_auto.data.random_fields import Rng, slope


def recorded(rng: Rng, picture_HW3: np.ndarray, harshness: float = 1.0) -> np.ndarray:
    """Return the image as recorded by a random instrument.

    Args:
        rng: drawn from in a fixed order.
        picture_HW3: float32, about 0 to 1.
        harshness: scales blur and noise; 0 only clips and rounds.

    Returns:
        H W 3, uint8, RGB.
    """
    size = picture_HW3.shape[0]
    picture_HW3 = _lit(rng, picture_HW3, size, harshness)
    sharpness = rng.choice([0.45, 0.7, 1.0, 1.6], p=[0.35, 0.35, 0.2, 0.1]) * (0.7 + 0.3 * size / 256)
    picture_HW3 = cv2.GaussianBlur(picture_HW3, (0, 0), max(0.3, float(sharpness) * min(harshness, 1.0)))
    picture_HW3 = _noisy(rng, picture_HW3, harshness)
    image_HW3 = (np.clip(picture_HW3, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.35 * harshness:
        quality = int(rng.integers(35, 92))
        coded = cv2.imencode(".jpg", image_HW3, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image_HW3 = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return image_HW3


def _lit(rng: Rng, picture_HW3: np.ndarray, size: int, harshness: float) -> np.ndarray:
    """Uneven lighting, vignette, contrast and gamma."""
    strength = harshness * rng.choice([0.0, 0.1, 0.25], p=[0.3, 0.45, 0.25])
    if strength > 0:
        picture_HW3 = picture_HW3 * (1 + strength * slope(rng, size))[..., None]
    if rng.random() < 0.15 * harshness:
        picture_HW3 = picture_HW3 * (1 - rng.uniform(0.1, 0.35) * vignette(rng, size))[..., None]
    contrast = rng.uniform(0.6, 1.2) if harshness > 0 else 1.0
    middle = float(picture_HW3.mean())
    picture_HW3 = np.clip(middle + contrast * (picture_HW3 - middle), 0, 1)
    return picture_HW3 ** np.float32(rng.uniform(0.75, 1.35)) if harshness > 0 else picture_HW3


def _noisy(rng: Rng, picture_HW3: np.ndarray, harshness: float) -> np.ndarray:
    """Add sensor noise that grows with brightness; grey instruments have the same noise in all channels."""
    amount = harshness * rng.choice([0.008, 0.02, 0.045, 0.08], p=[0.3, 0.35, 0.25, 0.1])
    grey = np.array_equal(picture_HW3[..., 0], picture_HW3[..., 1])
    shape = (*picture_HW3.shape[:2], 1 if grey else 3)
    grain = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.3:
        grain = 1.5 * cv2.GaussianBlur(grain, (0, 0), 0.8).reshape(shape)
    photons = np.sqrt(np.clip(picture_HW3, 0, 1) + 0.1)
    return picture_HW3 + np.float32(amount) * grain * photons


def tinted(rng: Rng, picture_HW3: np.ndarray) -> np.ndarray:
    """Sometimes grey, inverted or with a colour cast, so that no object can be recognised by one colour alone."""
    draw = rng.random()
    if draw < 0.15:
        grey = picture_HW3 @ rgb(0.3, 0.55, 0.15)
        picture_HW3 = np.repeat(grey[..., None], 3, 2)
    elif draw < 0.3:
        picture_HW3 = picture_HW3 * rng.uniform(0.7, 1.2, 3).astype(np.float32)
    elif draw < 0.36:
        picture_HW3 = picture_HW3[..., rng.permutation(3)]
    return 1 - picture_HW3 if rng.random() < 0.12 else picture_HW3
