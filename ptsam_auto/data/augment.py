"""Augmented views of a sample; each view depends only on its seed (PTSAM, Sec. 4.1.3).

The paper names the kinds of augmentation (rotation, cropping, elastic transformation, flips, Gaussian noise, gamma,
brightness, contrast) but not their strengths; our values are the defaults below.
"""

# H W  rows and columns of a sample, px;  height, width  size of the view, px

import math
import os
import random
import warnings
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from ptsam_auto.data.dataset import Sample
from ptsam_auto.errors import ConfigError
from ptsam_auto.resampling import resize_image

IGNORED = 255  # in a map of class numbers; there are fewer classes

# Uniform white noise in [-1, 1], smoothed by a Gaussian of sigma px, has a standard deviation of this divided by sigma.
SMOOTHED_NOISE = 1 / math.sqrt(3) / (2 * math.sqrt(math.pi))


@dataclass(frozen=True)
class Augmentation:
    """Strength and probability of each kind of augmentation. A probability of 0 switches a kind off.

    Args:
        crop: Smallest fraction of the image's area that a view shows, in (0, 1].
        crop_probability: Probability of cropping, in [0, 1].
        flip_probability: Probability of each of the horizontal and the vertical flip, in [0, 1].
        turn_probability: Probability of a rotation by 90, 180 or 270 degrees, in [0, 1]; only for square views.
        rotation: Maximum rotation angle in both directions, degrees, in [0, 180]; empty corners are filled by
            reflection.
        rotation_probability: Probability of rotation, in [0, 1].
        elastic: Standard deviation of the elastic displacement, relative to the view's shorter side, in [0, 0.1].
        elastic_grain: Smoothness of the elastic displacement: sigma of the Gaussian, relative to the view's shorter
            side, in [0.01, 0.3].
        elastic_probability: Probability of the elastic transformation, in [0, 1].
        brightness: Maximum shift of the brightness in both directions, as a fraction of 255, in [0, 1].
        contrast: Maximum relative change of the contrast in both directions, in [0, 1].
        brightness_contrast_probability: Probability of brightness and contrast changes together, in [0, 1].
        gamma: Largest exponent, in [1, 5]; the smallest is its inverse.
        gamma_probability: Probability of the gamma change, in [0, 1].
        noise: Largest standard deviation of the noise, as a fraction of 255, in [0, 1]; grey images stay grey.
        noise_probability: Probability of noise, in [0, 1].

    Raises:
        ConfigError: A value is outside its range.
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

    The crop is taken at the original resolution and scaled to the size of the view in one step, so that it is as sharp
    as possible; all other changes are made at the size of the view.

    Args:
        sample: Sample, H W, any size; ignored pixels are transformed like the mask.
        augmentation: Strengths and probabilities.
        height: Height of the view, px; best in the sample's aspect ratio, together with `width`.
        width: Width of the view, px.
        seed: Random seed, at least 0. The same seed always gives the same view of a sample.

    Returns:
        View of size height width, with the sample's name.
    """
    rng = np.random.default_rng(seed)
    view = resized(_cropped(sample, augmentation, rng), height, width)
    grey = bool((view.image == view.image[..., :1]).all())
    pipeline = _pipeline(augmentation, height, width, grey)
    # Compose(seed=...) would give all transforms the same random numbers.
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    result = pipeline(image=view.image, mask=_labels(view))
    return Sample(sample.name, np.ascontiguousarray(result["image"]), *_split(result["mask"], view))


def resized(sample: Sample, height: int, width: int) -> Sample:
    """Return the sample at another size.

    The image is averaged if it becomes smaller and interpolated if it becomes larger. The mask uses nearest-neighbour
    interpolation, which keeps thin structures.

    Args:
        sample: Sample, H W, any size.
        height: New height, px.
        width: New width, px.
    """
    if sample.mask.shape == (height, width):
        return sample
    image = resize_image(sample.image, height, width)
    labels = cv2.resize(_labels(sample), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(sample.name, image, *_split(labels, sample))


def _labels(sample: Sample) -> np.ndarray:
    """Return mask and ignored pixels as one array, H W uint8: class numbers (0 is background), or IGNORED."""
    labels = sample.mask.astype(np.uint8)
    if sample.ignored is not None:
        labels[sample.ignored] = IGNORED
    return labels


def _split(labels: np.ndarray, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the mask and the ignored pixels (None if the sample has none) from the result of `_labels`."""
    ignored = None if sample.ignored is None else labels == IGNORED
    mask = labels if ignored is None else np.where(ignored, 0, labels)
    return mask.astype(sample.mask.dtype), ignored


def part_of(sample: Sample, box: tuple[slice, slice]) -> Sample:
    """Return some rows and columns of a sample, as a copy."""
    ignored = None if sample.ignored is None else np.ascontiguousarray(sample.ignored[box])
    return Sample(sample.name, np.ascontiguousarray(sample.image[box]), np.ascontiguousarray(sample.mask[box]), ignored)


def _cropped(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Return a part of the sample in its own aspect ratio, at its own resolution."""
    is_cropped, area = rng.random() < augmentation.crop_probability, rng.uniform(augmentation.crop, 1)
    down, right = rng.random(2)
    if not is_cropped:
        return sample
    rows, columns = (max(1, round(side * math.sqrt(area))) for side in sample.mask.shape)
    top, left = (
        round(share * slack)
        for share, slack in zip(
            (down, right), (sample.mask.shape[0] - rows, sample.mask.shape[1] - columns), strict=True
        )
    )
    return part_of(sample, (slice(top, top + rows), slice(left, left + columns)))


def _pipeline(augmentation: Augmentation, height: int, width: int, grey: bool) -> Any:  # noqa: ANN401 - no types
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # disables the online check for a new version
    with warnings.catch_warnings():
        # It imports a package that warns in a notebook without ipywidgets that its own bars, unused here, need them.
        warnings.filterwarnings("ignore", message="IProgress not found")
        import albumentations as A

    a, side = augmentation, min(height, width)
    grain = max(1.0, a.elastic_grain * side)
    margin = min(math.ceil(2 * grain), side - 1)
    reflect = cv2.BORDER_REFLECT_101
    return A.Compose(
        [
            A.Rotate(a.rotation, border_mode=reflect, p=a.rotation_probability),
            A.Sequential(
                [  # pad first and crop afterwards, because the smoothed noise is several times too strong at its border
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
