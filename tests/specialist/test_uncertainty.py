"""How sure a specialist is: the disagreement of the folds, the expected Dice, and what to annotate next."""

import numpy as np
import pytest

from ptsam_auto.specialist.calibration import calibrated, confidence
from ptsam_auto.specialist.suggestion import choose, typical_distance
from ptsam_auto.specialist.uncertainty import as_pixels, disagreement, spread


def test_where_all_folds_agree_nothing_is_uncertain():
    same = np.full((4, 6, 5), 0.7, np.float32)
    assert not spread(same).any()
    assert disagreement(same) == pytest.approx(0, abs=1e-6)


def test_white_is_the_largest_disagreement():
    halves = np.stack([np.zeros((3, 3)), np.ones((3, 3))] * 2).astype(np.float32)
    assert (as_pixels(spread(halves)) == 255).all()
    apart = np.zeros((2, 2, 2), np.float32)
    apart[0, 0, 0] = apart[1, 1, 1] = 1
    assert disagreement(apart) == 1


def test_an_image_without_foreground_is_no_disagreement():
    assert disagreement(np.zeros((4, 5, 5), np.float32)) == 0
    assert confidence(np.zeros((5, 5))) == 0


def test_a_mask_whose_pixels_are_certain_has_the_confidence_one():
    certain = np.zeros((4, 4))
    certain[:2] = 1
    assert confidence(certain) == 1
    assert confidence(np.where(certain, 0.6, 0.4)) < 0.7


def test_the_expected_dice_rises_with_the_confidence_and_stays_a_dice():
    line = calibrated([0.6, 0.7, 0.8, 0.9, 0.95], [0.5, 0.62, 0.71, 0.85, 0.9])
    assert line.expected_dice(0.65) < line.expected_dice(0.85)
    assert (line.expected_dice(-5), line.expected_dice(5)) == (0, 1)
    assert line.helps
    assert line.error < 0.05


def test_where_the_confidence_says_nothing_every_image_has_the_mean():
    rng = np.random.default_rng(0)
    line = calibrated(rng.uniform(size=4), [0.9, 0.5, 0.5, 0.9])
    assert line.expected_dice(0.1) == pytest.approx(0.7, abs=0.12)
    falling = calibrated([0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6])
    assert falling.slope == 0, "more confidence never means less Dice"
    assert calibrated([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).slope == 0, "three images are too few for a line"
    assert calibrated([0.5], [0.5]) is None


def test_among_equally_uncertain_images_different_ones_are_suggested():
    annotated = np.array([[0.0, 0.0]])
    new = np.array([[10.0, 0.0], [10.1, 0.0], [0.0, 8.0], [0.1, 0.0]])
    picks = choose([0.5] * 4, new, annotated, count=3)
    assert [pick.index for pick in picks] == [1, 2, 0], "far from the annotated image, then far from the first"
    assert picks[0].distance_to_annotated == pytest.approx(10.1)


def test_among_equally_different_images_the_uncertain_one_is_suggested():
    new = np.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]])
    assert choose([0.1, 0.9, 0.2], new, np.array([[0.0, 0.0]]), count=1)[0].index == 1
    assert len(choose([0.1, 0.9, 0.2], new, np.array([[0.0, 0.0]]), count=8)) == 3, "there are no more"


def test_the_unit_of_distance_is_that_between_annotated_images():
    assert typical_distance(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])) == pytest.approx((3 + 1 + 1) / 3)
    assert typical_distance(np.array([[0.0, 0.0]])) == 1
