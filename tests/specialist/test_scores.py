"""Scores are means over images, and a useless specialist raises an warning."""

import numpy as np
import pytest

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.records import from_json, to_json
from ptsam_auto.specialist.scores import ImageScore, Scores, evaluate


def scores(*dice, share=0.5):
    return Scores.of([ImageScore(f"{i}", d, d / (2 - d), share) for i, d in enumerate(dice)])


def test_mean_and_deviation_over_images():
    assert scores(0.6, 0.8).dice == pytest.approx(0.7)
    assert scores(0.6, 0.8).dice_std == pytest.approx(0.1414, abs=1e-4)
    assert scores(0.6).dice_std == 0.0


@pytest.mark.parametrize(("share", "warning"), [
    (0.0, "All predicted masks are empty: they contain only background."),
    (1.0, "All predicted masks are full: they contain only foreground."),
    (0.01, None),
])  # fmt: skip
def test_alarms(share, warning):
    assert scores(0.5, 0.5, share=share).warning == warning


def test_scores_survive_json():
    assert from_json(Scores, to_json(scores(0.1, 0.9))) == scores(0.1, 0.9)


def pair(mask, ignored=None):
    image = np.zeros((4, 4, 3), np.uint8)
    return Pair("a", "d", lambda: Sample("a", image, mask, ignored))


def one_pixel(image):
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    return mask


def test_a_false_pixel_in_a_blank_image_is_an_area_and_not_a_dice_of_0():
    blank, marked = np.zeros((4, 4), bool), one_pixel(None)
    found = evaluate(one_pixel, [pair(blank), pair(marked)])
    assert found.dice == 1.0
    assert found.iou == 1.0
    assert found.false_positive_area == 1 / 16
    assert [image.blank for image in found.images] == [True, False]
    assert from_json(Scores, to_json(found)) == found


def test_without_blank_images_there_is_no_false_positive_area():
    assert scores(0.5).false_positive_area is None


def test_blank_images_alone_are_all_or_nothing():
    found = evaluate(one_pixel, [pair(np.zeros((4, 4), bool))])
    assert (found.dice, found.false_positive_area) == (0.0, 1 / 16)


def test_pixels_that_take_no_part_are_not_scored():
    truth = np.zeros((4, 4), bool)
    truth[2:, 2:] = True
    ignored = one_pixel(None)
    found = evaluate(lambda image: truth | one_pixel(image), [pair(truth, ignored)])
    assert found.dice == 1.0
    assert not found.images[0].blank
