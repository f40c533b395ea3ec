"""Dice and IoU count what they say, also where there is nothing."""

import numpy as np
import pytest

from ptsam_auto.metrics.dice import Counts


def test_counts_of_a_half_overlap():
    truth, predicted = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    truth[0], predicted[0, 2:], predicted[1, 2:] = True, True, True
    counts = Counts.of(predicted, truth)
    assert counts == Counts(true_positive=2, false_positive=2, false_negative=2, true_negative=2)
    assert counts.dice == pytest.approx(0.5)
    assert counts.iou == pytest.approx(1 / 3)
    assert counts.predicted_share == pytest.approx(0.5)


def test_nothing_to_find_and_nothing_found_is_perfect_but_anything_found_is_not():
    nothing, one = np.zeros((2, 2), bool), np.eye(2, dtype=bool)
    assert (Counts.of(nothing, nothing).dice, Counts.of(nothing, nothing).iou) == (1.0, 1.0)
    assert (Counts.of(one, nothing).dice, Counts.of(one, nothing).iou) == (0.0, 0.0)
    assert Counts.of(nothing, one).dice == 0.0


def test_ignored_pixels_are_not_counted():
    truth = np.zeros((4, 4), bool)
    truth[0] = True
    ignored = np.zeros((4, 4), bool)
    ignored[2:] = True
    everywhere = np.ones((4, 4), bool)
    counts = Counts.of(everywhere, truth, ignored)
    assert (counts.true_positive, counts.false_positive, counts.pixels) == (4, 4, 8)
    assert counts == Counts.of(everywhere[:2], truth[:2])
