"""Touching objects are counted apart, specks and holes are what the training masks say."""

import numpy as np
import pytest
from scipy import ndimage

from ptsam_auto.objects.separation import NOT_LEARNED, ObjectSettings, separated, settings_for


def discs(*centres, radius=12, shape=(80, 100)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for row, column in centres:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask


def test_two_discs_that_touch_are_two_objects_whose_border_is_between_them():
    labels = separated(discs((40, 30), (40, 50)), NOT_LEARNED)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    left, right = labels[40, 22], labels[40, 58]
    assert left != right
    assert {left, right} == {1, 2}
    columns = np.flatnonzero(labels[40] == left)
    assert columns.max() in (39, 40)
    assert (labels > 0).sum() == discs((40, 30), (40, 50)).sum(), "no pixel is lost"


def test_a_long_object_and_a_disc_that_the_border_cuts_are_not_split():
    bar = np.zeros((60, 100), bool)
    bar[25:35, 5:95] = True
    assert separated(bar, NOT_LEARNED).max() == 1
    assert separated(discs((0, 50), radius=20), NOT_LEARNED).max() == 1


def test_every_object_is_connected_and_the_numbers_have_no_gap():
    labels = separated(discs(*[(row, column) for row in (20, 42, 64) for column in (20, 42, 64, 86)]), NOT_LEARNED)
    assert labels.dtype == np.int32
    assert sorted(np.unique(labels)) == list(range(13))
    assert all(ndimage.label(labels == number)[1] == 1 for number in range(1, 13))


def test_specks_go_and_small_holes_close():
    mask = discs((40, 30))
    mask[40, 20] = False
    mask[5:7, 90] = True
    settings = ObjectSettings(smallest=3, largest_hole=2)
    labels = separated(mask, settings)
    assert labels.max() == 1
    assert labels[40, 20] == 1
    assert not labels[5:7, 90].any()
    kept = separated(mask, ObjectSettings(smallest=2, largest_hole=1))
    assert kept[5:7, 90].all(), "an object of exactly the smallest area stays"
    assert kept[40, 20] == 0, "a hole of exactly the largest area stays"


def test_an_empty_mask_has_no_objects():
    assert not separated(np.zeros((5, 6), bool), ObjectSettings(3, 3)).any()


def test_settings_come_from_the_annotated_objects_and_holes():
    areas = discs((40, 30)).sum()
    assert settings_for([discs((40, 30), (40, 70))]) == ObjectSettings(areas // 2, areas // 2)
    ring = discs((40, 30)) & ~discs((40, 30), radius=3)
    hole = discs((40, 30), radius=3).sum()
    assert settings_for([ring]).largest_hole == hole // 2, "an annotated hole is not filled"
    assert settings_for([np.zeros((5, 6), bool)]) == NOT_LEARNED


@pytest.mark.parametrize("seed", range(3))
def test_random_masks_keep_their_foreground(seed):
    mask = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 70)), 3) > 0
    labels = separated(mask, NOT_LEARNED)
    assert ((labels > 0) == mask).all()
