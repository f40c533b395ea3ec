"""Random noise, illumination gradients and blur for artificial images."""

# H W  size of an image in px (square); fields are float32

import cv2
import numpy as np

Rng = np.random.Generator


def noise(rng: Rng, size: int, grain: float, octaves: int = 1, stretch: float = 1.0) -> np.ndarray:
    """Return smooth noise with mean 0 and standard deviation 1.

    Args:
        rng: Random generator; the same seed gives the same field.
        size: H = W in px.
        grain: Distance in px between independent values in the coarsest octave.
        octaves: Number of octaves; each further one is twice as fine and half as strong.
        stretch: Above 1, the grain is this many times longer along one random direction.

    Returns:
        H W, float32.
    """
    field = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = int(np.ceil(size * 2**octave / max(grain, 1.0)))
        cells = min(max(cells, 1), size) + 3
        field += 0.5**octave * _enlarged(rng, cells, size, stretch if octave == 0 else 1.0)
    field -= field.mean()
    return field / max(float(field.std()), 1e-6)


def _enlarged(rng: Rng, cells: int, size: int, stretch: float) -> np.ndarray:
    """Return a grid of random numbers that is enlarged to H W, and rotated if it is stretched."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    if stretch == 1.0:
        offset = rng.uniform(0, 1, 2)
        scale = size / (cells - 2)
        place = np.array([[scale, 0, -scale * (0.5 + offset[0])], [0, scale, -scale * (0.5 + offset[1])]])
    else:
        angle = rng.uniform(0, np.pi)
        scale = size / (cells - 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turn = turn @ np.diag([scale * stretch, scale])
        shift = size / 2 - turn @ np.array([cells / 2, cells / 2])
        place = np.column_stack([turn, shift])
    return cv2.warpAffine(coarse, place, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def slope(rng: Rng, size: int) -> np.ndarray:
    """Return an illumination gradient in a random direction plus smooth noise, H W, about -1 to 1."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    tilt = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    return (0.7 * tilt + 0.3 * noise(rng, size, size / 1.5)).astype(np.float32)


def blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    """Return the field as float32, blurred by `sigma` px; it is unchanged if sigma is below 0.2 px."""
    field = field.astype(np.float32)
    return cv2.GaussianBlur(field, (0, 0), sigma) if sigma >= 0.2 else field
