"""Our augmentation does what torchvision's transforms of the same name do, so that albumentations can be replaced.

albumentations 2.0.8 is the last release under a free licence. Where torchvision.transforms.v2 has the same operation,
both are compared here on the same drawn numbers: flips, turns, rotation, contrast and brightness, gamma.
"""

import random

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from ptsam_auto.data.augment import Augmentation, _pipeline
from tests.toys import sample

SIDE = 96
OFF = {name: 0.0 for name in Augmentation.__dataclass_fields__ if name.endswith("_probability")}


@pytest.fixture(scope="module")
def pair():
    """A smooth colour image and its mask of 0, 1 and 2, as numpy arrays and as torchvision's tensors."""
    disc = sample(0, SIDE, SIDE)
    image = cv2.GaussianBlur(disc.image, (0, 0), 2)
    mask = disc.mask.astype(np.uint8)
    mask[:20, :30] = 2
    return image, mask


def augmented(pair, place, seed=0, **probability):
    """Return image, mask, and what the transform at a place of our pipeline has drawn."""
    pipeline = _pipeline(Augmentation(**(OFF | probability)), SIDE, SIDE, grey=False)
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
    result = pipeline(image=pair[0], mask=pair[1])
    return result["image"], result["mask"], pipeline.transforms[place].params


def tensors(pair):
    return torch.from_numpy(pair[0]).permute(2, 0, 1), torch.from_numpy(pair[1])[None]


def arrays(image, mask):
    return image.permute(1, 2, 0).numpy(), mask[0].numpy()


def test_flips_are_equal(pair):
    image, mask, _ = augmented(pair, 2, flip_probability=1.0)
    theirs = arrays(*(F.vertical_flip(F.horizontal_flip(one)) for one in tensors(pair)))
    assert np.array_equal(image, theirs[0])
    assert np.array_equal(mask, theirs[1])


def test_turns_are_equal(pair):
    drawn = set()
    for seed in range(12):
        image, mask, _ = augmented(pair, 4, seed, turn_probability=1.0)
        theirs = [arrays(*(F.rotate(one, 90.0 * quarter) for one in tensors(pair))) for quarter in range(4)]
        equal = [n for n, (i, m) in enumerate(theirs) if np.array_equal(image, i) and np.array_equal(mask, m)]
        assert len(equal) == 1
        drawn.update(equal)
    assert drawn == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_a_rotation_is_equal_where_no_border_is_filled(pair, seed):
    image, mask, drawn = augmented(pair, 0, seed, rotation_probability=1.0)
    matrix = drawn["matrix"]
    angle = float(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))  # torchvision turns the other way
    turned, labels = tensors(pair)
    theirs = arrays(
        F.rotate(turned, angle, interpolation=F.InterpolationMode.BILINEAR),
        F.rotate(labels, angle, interpolation=F.InterpolationMode.NEAREST),
    )
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    inside = y**2 + x**2 < (SIDE / 2 - 3) ** 2
    assert abs(angle) > 1
    assert np.abs(image.astype(int) - theirs[0])[inside].max() <= 2
    assert np.mean((mask != theirs[1])[inside]) < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_torchvisions_brightness_and_brightness_is_added(pair, seed):
    """Contrast multiplies all values, which torchvision calls brightness; its contrast keeps the mean."""
    image, _, drawn = augmented(pair, 5, seed, brightness_contrast_probability=1.0)
    theirs = F.adjust_brightness(tensors(pair)[0].float() / 255, drawn["alpha"]) * 255 + drawn["beta"]
    assert np.abs(image.astype(float) - theirs.clamp(0, 255).permute(1, 2, 0).numpy()).max() < 1.5


@pytest.mark.parametrize("seed", range(3))
def test_gamma_is_equal(pair, seed):
    image, _, drawn = augmented(pair, 6, seed, gamma_probability=1.0)
    theirs = F.adjust_gamma(tensors(pair)[0], drawn["gamma"]).permute(1, 2, 0).numpy()
    assert np.abs(image.astype(int) - theirs).max() <= 1
