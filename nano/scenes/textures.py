"""Random fields and colours that only scenes need; the others are in `ptsam_auto.data.random_fields`."""

# H W  a scene's size in px (square); fields are float32

import cv2
import numpy as np

from ptsam_auto.data.random_fields import Rng, noise


def speckle(rng: Rng, size: int, sigma: float = 0.0) -> np.ndarray:
    """Return white noise, H W, blurred by `sigma` px and normalised to standard deviation 1."""
    field = rng.standard_normal((size, size), np.float32)
    if sigma > 0:
        field = cv2.GaussianBlur(field, (0, 0), sigma)
        field /= max(float(field.std()), 1e-6)
    return field


def vignette(rng: Rng, size: int) -> np.ndarray:
    """H W, 0 at a random middle, 1 about half a width away."""
    centre = rng.uniform(-0.2, 0.2, 2)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return (axis[None, :] - np.float32(centre[0])) ** 2 + (axis[:, None] - np.float32(centre[1])) ** 2


def warped(rng: Rng, field: np.ndarray, grain: float, reach: float, nearest: bool = False) -> np.ndarray:
    """Return the field, warped by a smooth displacement of about `reach` px; `nearest` for exact labels (float32)."""
    size = field.shape[0]
    axis = np.arange(size, dtype=np.float32)
    x = axis[None, :] + np.float32(reach) * noise(rng, size, grain, 2)
    y = axis[:, None] + np.float32(reach) * noise(rng, size, grain, 2)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(field.astype(np.float32), x, y, how, borderMode=cv2.BORDER_REFLECT)


def rgb(*channels: float) -> np.ndarray:
    """A colour, 3 float32."""
    return np.array(channels, np.float32)


def painted(field: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return brightness, H W, times an RGB colour: H W 3."""
    return field[..., None] * np.asarray(colour, np.float32)


def grey(field_HW: np.ndarray) -> np.ndarray:
    """H W to H W 3."""
    return np.repeat(field_HW[..., None].astype(np.float32), 3, 2)
