"""Small folders of images and masks, sound unless a test breaks them."""

import os
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int = 0, height: int = 12, width: int = 16) -> np.ndarray:
    """Return a random image, H W 3, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def marking(height: int = 12, width: int = 16) -> np.ndarray:
    """Return a mask that is neither blank nor symmetric, H W, bool."""
    mask = np.zeros((height, width), bool)
    mask[2:5, 3:11] = True
    return mask


def save(path: Path, array: np.ndarray) -> Path:
    """Write a PNG (or what the suffix says); bool becomes 0/255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(path)
    return path


def pairs_folder(folder: Path, names=("a", "b", "c")) -> Path:
    """Write images/ and masks/ that are sound."""
    for seed, name in enumerate(names):
        save(folder / "images" / f"{name}.png", picture(seed))
        save(folder / "masks" / f"{name}.png", marking())
    return folder


def cut(path: Path, share: float = 0.5) -> None:
    """Keep the first part of a file, as an interrupted copy does."""
    os.truncate(path, int(path.stat().st_size * share))
