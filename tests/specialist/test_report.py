"""Overlays colour what is wrong as the paper's Fig. 6 does."""

import numpy as np

from ptsam_auto.specialist.report import PICTURE_SIDE, overlay, side_by_side


def test_missed_is_orange_invented_is_red_and_the_rest_keeps_its_look():
    image = np.full((1, 4, 3), 100, np.uint8)
    predicted, truth = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    found, invented, missed, nothing = overlay(image, predicted, truth)[0].astype(int)
    assert found[2] > found[0], "found is blue"
    assert invented[0] > 150
    assert max(invented[1:]) < 80
    assert missed[0] > 150
    assert 80 < missed[1] < 200
    assert missed[2] < 80
    assert nothing.tolist() == [100, 100, 100]


def test_without_a_truth_the_mask_is_blue():
    image = np.full((1, 2, 3), 100, np.uint8)
    marked, bare = overlay(image, np.array([[True, False]]))[0].astype(int)
    assert marked[2] > marked[0]
    assert bare.tolist() == [100, 100, 100]


def test_large_images_are_shown_small():
    image, mask = np.zeros((2000, 1000, 3), np.uint8), np.zeros((2000, 1000), bool)
    assert max(side_by_side(image, mask, mask).shape) <= 2 * PICTURE_SIDE
