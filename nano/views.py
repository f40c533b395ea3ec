"""Training views: a crop of an image, scaled to the network's input size, with changed colours."""

# H W  size of an image in px   S  the network's input side, px   h w  size of the view inside it, px

from dataclasses import replace

import cv2
import numpy as np

from nano.sources import Regions
from ptsam_auto.data.random_fields import Rng
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.tiles import frame

LARGEST_ENLARGEMENT = 2.0  # the same limit as for a specialist's tiles, see `ptsam_auto.sam.tiles`


def view(rng: Rng, regions: Regions, size: int) -> Regions:
    """Return a random view whose longer side is `size` px: cropped, flipped, transposed, with changed colours."""
    return recoloured(rng, turned(rng, scaled(cropped(rng, regions, size), size)))


def scaled(regions: Regions, size: int) -> Regions:
    """Scale an image and its regions so that the longer side is `size` px."""
    H, W = regions.labels.shape
    height, width = frame(H, W, size)
    labels_hw = cv2.resize(regions.labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return replace(regions, image=resize_image(regions.image, height, width), labels=labels_hw)


def cropped(rng: Rng, regions: Regions, size: int) -> Regions:
    """Return a nearly square crop of 30 to 100 % of the area; it is larger if it would be enlarged too much."""
    H, W = regions.labels.shape
    aspect = np.exp(rng.uniform(-0.35, 0.35))
    side = np.sqrt(rng.uniform(0.3, 1.0) * H * W)
    side = max(side, size / LARGEST_ENLARGEMENT)
    height = min(H, round(side * np.sqrt(aspect)))
    width = min(W, round(side / np.sqrt(aspect)))
    top, left = rng.integers(H - height + 1), rng.integers(W - width + 1)
    inside = np.s_[top : top + height, left : left + width]
    return replace(regions, image=regions.image[inside], labels=regions.labels[inside])


def turned(rng: Rng, regions: Regions) -> Regions:
    """Return one of the eight combinations of flips and a transposition."""
    image, labels = regions.image, regions.labels
    across, down, transpose = rng.random(3) < 0.5
    if across:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if down:
        image, labels = image[::-1], labels[::-1]
    if transpose:
        image, labels = image.transpose(1, 0, 2), labels.T
    return replace(regions, image=np.ascontiguousarray(image), labels=np.ascontiguousarray(labels))


def recoloured(rng: Rng, regions: Regions) -> Regions:
    """Change the colours by a gain and an offset; sometimes to grey, inverted, with a colour cast, blurred or noisy."""
    pixels = regions.image.astype(np.float32)
    if rng.random() < 0.25:
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    if rng.random() < 0.1:
        pixels = 255 - pixels
    if rng.random() < 0.3:
        pixels = pixels * rng.uniform(0.75, 1.25, 3).astype(np.float32)
    pixels = pixels * np.float32(rng.uniform(0.75, 1.25)) + np.float32(rng.uniform(-20, 20))
    if rng.random() < 0.1:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.15:
        pixels = pixels + np.float32(rng.uniform(2, 12)) * rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    return replace(regions, image=np.clip(pixels, 0, 255).astype(np.uint8))
