"""Random fields: the grounds, textures and lighting that scenes are made of, all vectorised."""

# H W  a scene's size in px (square); fields are float32

import cv2
import numpy as np

Rng = np.random.Generator


def noise(rng: Rng, size: int, grain: float, octaves: int = 1, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1.

    Args:
        rng: drawn from in a fixed order, so a seed fixes the field.
        size: H = W in px.
        grain: px between independent values in the coarsest octave.
        octaves: each further one is twice as fine and half as strong.
        stretch: above 1, the grain is this many times longer along one random direction.

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
    """A grid of random numbers, enlarged (and turned, where stretched) to H W."""
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


def speckle(rng: Rng, size: int, sigma: float = 0.0) -> np.ndarray:
    """White noise, H W, blurred by `sigma` px and brought back to standard deviation 1."""
    field = rng.standard_normal((size, size), np.float32)
    if sigma > 0:
        field = cv2.GaussianBlur(field, (0, 0), sigma)
        field /= max(float(field.std()), 1e-6)
    return field


def slope(rng: Rng, size: int) -> np.ndarray:
    """A lighting field, H W, about -1 to 1: a tilt in a random direction with a slow wobble."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    tilt = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    return (0.7 * tilt + 0.3 * noise(rng, size, size / 1.5)).astype(np.float32)


def vignette(rng: Rng, size: int) -> np.ndarray:
    """H W, 0 at a random middle, 1 about half a width away."""
    centre = rng.uniform(-0.2, 0.2, 2)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    return (axis[None, :] - np.float32(centre[0])) ** 2 + (axis[:, None] - np.float32(centre[1])) ** 2


def warped(rng: Rng, field: np.ndarray, grain: float, reach: float, nearest: bool = False) -> np.ndarray:
    """The field moved by a smooth displacement of about `reach` px; `nearest` for label maps (float32 exact)."""
    size = field.shape[0]
    axis = np.arange(size, dtype=np.float32)
    x = axis[None, :] + np.float32(reach) * noise(rng, size, grain, 2)
    y = axis[:, None] + np.float32(reach) * noise(rng, size, grain, 2)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(field.astype(np.float32), x, y, how, borderMode=cv2.BORDER_REFLECT)


def blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    """The field as float32, blurred by `sigma` px; unchanged below 0.2 px."""
    field = field.astype(np.float32)
    return cv2.GaussianBlur(field, (0, 0), sigma) if sigma >= 0.2 else field


def rgb(*channels: float) -> np.ndarray:
    """A colour, 3 float32."""
    return np.array(channels, np.float32)


def painted(field: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """H W of brightness times an RGB colour: H W 3."""
    return field[..., None] * np.asarray(colour, np.float32)
