import json
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace

import cv2
import numpy as np
import pytest

from ptsam_auto.data.augment import Augmentation, augmented, resized
from ptsam_auto.data.dataset import Sample, content_digest
from ptsam_auto.errors import ConfigError

OFF = Augmentation(**{field.name: 0.0 for field in fields(Augmentation) if field.name.endswith("_probability")})
GEOMETRY = replace(
    Augmentation(),
    brightness_contrast_probability=0.0,
    gamma_probability=0.0,
    noise_probability=0.0,
    elastic_probability=1.0,
)


@pytest.fixture(scope="module")
def sample():
    """A wide image whose red channel is its mask."""
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.random((90, 120)), (0, 0), 6)
    mask = blobs > np.median(blobs)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image[..., 0] = mask * 255
    return Sample("a", image, mask)


def digest(view):
    return content_digest(view.image, view.mask)


def test_a_view_has_the_size_that_was_asked_for(sample):
    for height, width in ((48, 64), (96, 96), (180, 240)):
        view = augmented(sample, Augmentation(), height, width, seed=1)
        assert view.image.shape == (height, width, 3)
        assert view.image.dtype == np.uint8
        assert view.mask.shape == (height, width)
        assert view.mask.dtype == bool
        assert view.name == "a"


def test_a_seed_gives_the_same_view_in_any_order(sample):
    forwards = [digest(augmented(sample, Augmentation(), 48, 64, seed)) for seed in range(8)]
    backwards = [digest(augmented(sample, Augmentation(), 48, 64, seed)) for seed in reversed(range(8))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 8


def test_a_seed_gives_the_same_view_in_another_process():
    code = (
        "import numpy as np; from ptsam_auto.data.augment import *; from ptsam_auto.data.dataset import *;"
        "s = Sample('a', np.arange(90 * 120 * 3).reshape(90, 120, 3).astype(np.uint8), np.eye(90, 120) > 0);"
        "v = augmented(s, Augmentation(), 48, 64, 5); print(content_digest(v.image, v.mask))"
    )
    image = np.arange(90 * 120 * 3).reshape(90, 120, 3).astype(np.uint8)
    here = digest(augmented(Sample("a", image, np.eye(90, 120) > 0), Augmentation(), 48, 64, 5))
    there = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
    assert there.stderr == ""


def test_nothing_happens_when_everything_is_off(sample):
    view = augmented(sample, OFF, 90, 120, seed=3)
    assert np.array_equal(view.image, sample.image)
    assert np.array_equal(view.mask, sample.mask)


def test_the_original_is_left_alone(sample):
    before = digest(sample)
    augmented(sample, Augmentation(), 90, 120, seed=3)
    assert digest(sample) == before


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_follows_the_image(sample, seed):
    view = augmented(sample, replace(GEOMETRY, turn_probability=1.0), 128, 128, seed)
    painted = view.image[..., 0] > 127
    assert (painted == view.mask).mean() > 0.97


def test_kinds_are_drawn_independently(sample):
    """Transforms that share a seed would mirror in both directions or in none."""
    flips = replace(OFF, flip_probability=0.5)
    ways = {
        digest(Sample("a", sample.image[v, h], sample.mask[v, h])): (v.step, h.step)
        for v in (slice(None), slice(None, None, -1))
        for h in (slice(None), slice(None, None, -1))
    }
    seen = [ways[digest(augmented(sample, flips, 90, 120, seed))] for seed in range(60)]
    assert {seen.count(way) > 5 for way in ways.values()} == {True}


def test_a_crop_is_as_sharp_as_the_original_allows():
    """Resizing before cropping would leave even grey of these lines in every view."""
    lines = np.zeros((400, 400, 3), np.uint8)
    lines[::4], lines[1::4] = 255, 255
    striped = Sample("a", lines, lines[..., 0] > 0)
    crops = replace(OFF, crop=0.07, crop_probability=1.0)
    assert max(augmented(striped, crops, 100, 100, seed).image.std() for seed in range(20)) > 60
    assert resized(striped, 100, 100).image.std() < 1


def test_only_a_square_view_is_turned(sample):
    turned = replace(OFF, turn_probability=1.0)
    assert np.array_equal(augmented(sample, turned, 90, 120, seed=0).image, sample.image)
    square = [digest(augmented(sample, turned, 64, 64, seed)) for seed in range(12)]
    assert len(set(square)) >= 3


@pytest.mark.parametrize("side", [64, 256])
def test_elastic_shifts_are_a_share_of_the_view(side):
    """A ramp shows where each pixel came from; the border must not be torn further than the middle."""
    ramp = np.tile(np.linspace(0, 255, side), (side, 1)).astype(np.uint8)
    straight = Sample("a", np.dstack([ramp] * 3), ramp > 127)
    elastic = replace(OFF, elastic=0.03, elastic_probability=1.0)
    shifts = []
    for seed in range(10):
        view = augmented(straight, elastic, side, side, seed).image[..., 0]
        shifts.append((view.astype(float) - ramp)[:, side // 8 : -side // 8] / 255)
    shift = np.stack(shifts)
    assert 0.02 < shift.std() < 0.045
    assert shift[:, [0, -1]].std() < 1.5 * shift.std()


def test_rotation_shows_no_black_corners():
    white = Sample("a", np.full((50, 50, 3), 255, np.uint8), np.ones((50, 50), bool))
    for seed in range(5):
        view = augmented(white, replace(OFF, rotation=45.0, rotation_probability=1.0), 50, 50, seed)
        assert view.image.min() == 255
        assert view.mask.all()


def test_noise_on_grey_stays_grey(sample):
    noisy = replace(OFF, noise=0.1, noise_probability=1.0)
    grey = Sample("a", np.full((50, 50, 3), 128, np.uint8), np.eye(50) > 0)
    view = augmented(grey, noisy, 50, 50, seed=0).image
    assert view.std() > 1
    assert np.array_equal(view[..., 0], view[..., 2])
    colour = augmented(sample, noisy, 90, 120, seed=0).image
    assert not np.array_equal(
        colour[..., 1].astype(int) - sample.image[..., 1], colour[..., 2].astype(int) - sample.image[..., 2]
    )


def test_settings_serve_as_a_key():
    assert hash(Augmentation()) == hash(Augmentation())
    assert Augmentation(**json.loads(json.dumps(asdict(Augmentation())))) == Augmentation()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("rotation", 200.0, "augmentation.rotation is 200.0; expected 0 to 180"),
        ("crop", 0.0, "augmentation.crop is 0.0; expected 0.0001 to 1"),
        ("gamma", 0.5, "augmentation.gamma is 0.5; expected 1 to 5"),
        ("noise_probability", float("nan"), "augmentation.noise_probability is nan; expected 0 to 1"),
    ],
)
def test_settings_outside_their_range(setting, value, message):
    with pytest.raises(ConfigError) as raised:
        Augmentation(**{setting: value})
    assert str(raised.value) == message


def test_shrinking_averages_the_image_and_keeps_the_share_of_thin_structures():
    board = np.indices((64, 64)).sum(0) % 2
    thin = np.zeros((64, 64), bool)
    thin[np.arange(64), np.arange(64)] = True
    small = resized(Sample("a", np.dstack([board * 255] * 3).astype(np.uint8), thin), 16, 16)
    assert np.abs(small.image.astype(int) - 127).max() <= 1
    assert small.mask.mean() >= 4 * thin.mean() * 0.9


def test_enlarging_goes_back_and_forth(sample):
    there = resized(sample, 180, 240)
    assert np.array_equal(resized(there, 90, 120).mask, sample.mask)


def test_files_and_pixels_need_no_torch():
    code = (
        "import sys, ptsam_auto.data.augment, ptsam_auto.data.subset, ptsam_auto.data.split;"
        "print([name for name in ('torch', 'albumentations', 'ray', 'mlflow') if name in sys.modules])"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == "[]"


def test_pixels_that_take_no_part_follow_the_image(sample):
    ignored = np.zeros(sample.mask.shape, bool)
    ignored[20:60, 30:90] = True
    image = sample.image.copy()
    image[..., 1] = 255 * ignored
    partly = Sample("a", image, sample.mask & ~ignored, ignored)
    for seed in range(6):
        view = augmented(partly, replace(GEOMETRY, turn_probability=1.0), 128, 128, seed)
        assert ((view.image[..., 1] > 127) == view.ignored).mean() > 0.97
        assert not (view.ignored & view.mask).any()
        assert view.ignored.shape == (128, 128)
    assert augmented(sample, GEOMETRY, 64, 64, 0).ignored is None
