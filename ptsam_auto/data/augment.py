"""Augmented views of a sample, each a function of its seed (PTSAM, Sec. 4.1.3).

The paper names the kinds (rotation, cropping, elastic transformation, flips, Gaussian noise, gamma,
brightness, contrast) and is silent about strengths; ours are the defaults below.
"""

# H W  px, rows and columns of a sample;  height, width  px, of the view

import math
import os
import random
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from ptsam_auto.data.dataset import Sample
from ptsam_auto.errors import ConfigError

# White noise, uniform in [-1, 1] and smoothed by a Gaussian of sigma px, has this standard deviation times sigma.
SMOOTHED_NOISE = 1 / math.sqrt(3) / (2 * math.sqrt(math.pi))


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a view, how strongly, and how often; a probability of 0 turns a kind off.

    Args:
        crop: smallest part of the image's area that a view shows, in (0, 1].
        crop_probability: in [0, 1].
        flip_probability: of each of the two mirrorings, in [0, 1].
        turn_probability: of a turn by 90, 180 or 270 degrees, in [0, 1]; only where the view is square.
        rotation: largest angle either way, degrees, in [0, 180]; what comes into view is a reflection.
        rotation_probability: in [0, 1].
        elastic: standard deviation of the displacement, as a share of the view's shorter side, in [0, 0.1].
        elastic_grain: width of the displacement's bumps (a Gaussian's sigma), the same share, in [0.01, 0.3].
        elastic_probability: in [0, 1].
        brightness: largest shift either way, as a share of 255, in [0, 1].
        contrast: largest change of the contrast either way, as a share, in [0, 1].
        brightness_contrast_probability: of both together, in [0, 1].
        gamma: largest exponent, in [1, 5]; the smallest is its inverse.
        gamma_probability: in [0, 1].
        noise: largest standard deviation, as a share of 255, in [0, 1]; grey stays grey.
        noise_probability: in [0, 1].

    Raises:
        ConfigError: a value is outside its range.
    """

    crop: float = 0.5
    crop_probability: float = 0.8
    flip_probability: float = 0.5
    turn_probability: float = 0.5
    rotation: float = 30.0
    rotation_probability: float = 0.5
    elastic: float = 0.01
    elastic_grain: float = 0.06
    elastic_probability: float = 0.3
    brightness: float = 0.15
    contrast: float = 0.2
    brightness_contrast_probability: float = 0.5
    gamma: float = 1.3
    gamma_probability: float = 0.3
    noise: float = 0.05
    noise_probability: float = 0.3

    def __post_init__(self) -> None:
        ranges = {
            "crop": (1e-4, 1.0),
            "rotation": (0.0, 180.0),
            "elastic": (0.0, 0.1),
            "elastic_grain": (0.01, 0.3),
            "gamma": (1.0, 5.0),
        }
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), ranges.get(field.name, (0.0, 1.0))
            if not low <= value <= high:
                raise ConfigError(f"augmentation.{field.name} is {value}; expected {low:g} to {high:g}")


def augmented(sample: Sample, augmentation: Augmentation, height: int, width: int, seed: int) -> Sample:
    """Return one view.

    The crop is taken at the original resolution and brought to the view's size in one step, so that it
    stays as sharp as the original allows; everything else happens at the view's size.

    Args:
        sample: H W, any size.
        augmentation: kinds and strengths.
        height: of the view, px; with `width`, best in the sample's aspect ratio.
        width: of the view, px.
        seed: at least 0. The same seed gives the same view of a sample, whatever was asked for before.

    Returns:
        height width, under the sample's name.
    """
    rng = np.random.default_rng(seed)
    view = resized(_cropped(sample, augmentation, rng), height, width)
    grey = bool((view.image == view.image[..., :1]).all())
    pipeline = _pipeline(augmentation, height, width, grey)
    # Compose(seed=...) would hand each transform a generator of the same seed: all would fire together.
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    result = pipeline(image=view.image, mask=view.mask.astype(np.uint8))
    return Sample(sample.name, np.ascontiguousarray(result["image"]), result["mask"] > 0)


def resized(sample: Sample, height: int, width: int) -> Sample:
    """Return the sample at another size.

    The image is averaged where it shrinks and interpolated where it grows. The mask takes its nearest
    pixel, so that the foreground's share survives where averaging would erase thin structures.

    Args:
        sample: H W, any size.
        height: px.
        width: px.
    """
    if sample.mask.shape == (height, width):
        return sample
    shrinks = height * width < sample.mask.size
    image = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(sample.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(sample.name, image, mask > 0)


def _cropped(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Return a part of the sample in its own aspect ratio, at its own resolution."""
    wanted, area = rng.random() < augmentation.crop_probability, rng.uniform(augmentation.crop, 1)
    down, right = rng.random(2)
    if not wanted:
        return sample
    rows, columns = (max(1, round(side * math.sqrt(area))) for side in sample.mask.shape)
    top, left = (
        round(share * slack)
        for share, slack in zip(
            (down, right), (sample.mask.shape[0] - rows, sample.mask.shape[1] - columns), strict=True
        )
    )
    part = slice(top, top + rows), slice(left, left + columns)
    return Sample(sample.name, np.ascontiguousarray(sample.image[part]), np.ascontiguousarray(sample.mask[part]))


def _pipeline(augmentation: Augmentation, height: int, width: int, grey: bool) -> Any:  # noqa: ANN401 - no types
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version
    import albumentations as A

    a, side = augmentation, min(height, width)
    grain = max(1.0, a.elastic_grain * side)
    margin = min(math.ceil(2 * grain), side - 1)
    reflect = cv2.BORDER_REFLECT_101
    return A.Compose(
        [
            A.Rotate(a.rotation, border_mode=reflect, p=a.rotation_probability),
            A.Sequential(
                [  # the smoothed noise is several times too strong at its border, so that is put outside the view
                    A.PadIfNeeded(height + 2 * margin, width + 2 * margin, border_mode=reflect),
                    A.ElasticTransform(
                        alpha=a.elastic * side * grain / SMOOTHED_NOISE,
                        sigma=grain,
                        noise_distribution="uniform",
                        border_mode=reflect,
                        p=1.0,
                    ),
                    A.CenterCrop(height, width),
                ],
                p=a.elastic_probability,
            ),
            A.HorizontalFlip(p=a.flip_probability),
            A.VerticalFlip(p=a.flip_probability),
            A.RandomRotate90(p=a.turn_probability if height == width else 0.0),
            A.RandomBrightnessContrast(a.brightness, a.contrast, p=a.brightness_contrast_probability),
            A.RandomGamma((100 / a.gamma, 100 * a.gamma), p=a.gamma_probability),
            A.GaussNoise((0.0, a.noise), per_channel=not grey, p=a.noise_probability),
        ]
    )
