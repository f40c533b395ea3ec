"""The expectation on new images is corrected for having chosen, and says how sure it is."""

import numpy as np
import pytest

from ptsam_auto.specialist.expected import MoreSteps, expectation


def equal_members(count, images=16, seed=0):
    """Cross-fitted Dice of members of which none is better than another."""
    return np.clip(np.random.default_rng(seed).normal(0.7, 0.15, (count, images)), 0, 1).tolist()


def test_the_interval_contains_the_mean_of_a_single_candidate():
    (dice,) = equal_members(1)
    found = expectation(dice, [dice])
    assert found.optimism == 0
    assert found.dice == pytest.approx(np.mean(dice))
    assert 0 <= found.low < found.dice < found.high <= 1
    assert expectation(dice, [dice] * 9) == found, "the same one several times is no choice"


def test_with_fewer_images_the_interval_is_wider():
    dice = [0.6, 0.8]
    widths = [expectation(dice * n, [dice * n]) for n in (2, 4, 8)]
    assert [found.high - found.low for found in widths] == sorted((f.high - f.low for f in widths), reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_many_equal_members_is_corrected_more(seed):
    optimism = []
    for count in (1, 2, 20):
        candidates = equal_members(count, seed=seed)
        best = max(candidates, key=np.mean)
        found = expectation(best, candidates)
        assert found.optimism >= 0
        assert found.dice == pytest.approx(np.mean(best) - found.optimism)
        optimism.append(found.optimism)
    assert optimism == sorted(optimism)
    assert optimism[-1] > 0.01


def test_a_member_that_is_far_better_needs_hardly_a_correction():
    good, *others = equal_members(5)
    worse = [[dice - 0.5 for dice in other] for other in others]
    assert expectation(good, [good, *worse]).optimism < 0.01


def test_steps_that_the_cross_fit_did_not_have_are_added_and_make_the_interval_wider():
    (dice,) = equal_members(1)
    short, plain = MoreSteps(mean=np.log(0.8), deviation=0.1, datasets=6), expectation(dice, [dice])
    found = expectation(dice, [dice], short)
    assert 1 - found.dice == pytest.approx(0.8 * (1 - plain.dice)), "the error is a fifth smaller"
    assert found.more_steps == pytest.approx(found.dice - plain.dice)
    assert found.high - found.low > plain.high - plain.low
    assert found.high <= 1


def test_one_image_gives_no_expectation():
    assert expectation([0.7], [[0.7], [0.6]]) is None


def test_the_same_images_give_the_same_expectation():
    candidates = equal_members(5)
    assert expectation(candidates[0], candidates) == expectation(candidates[0], candidates)
