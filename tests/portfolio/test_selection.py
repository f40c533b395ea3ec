"""A single member wins unless a mixture is clearly better."""

import numpy as np
import pytest

from ptsam_auto.portfolio.selection import MAX_PIXELS, Image, best_single, select

PIXELS = 200


def truths(count, seed=0):
    return [np.random.default_rng(seed + i).random(PIXELS) < 0.4 for i in range(count)]


def images(truths, *members):
    """Each member is a function from the truth to its probabilities."""
    return [Image(np.stack([member(truth) for member in members]).astype(np.float32), truth) for truth in truths]


def exact(truth):
    return np.where(truth, 0.9, 0.1)


def half(start):
    """Sure of one half of the foreground; of the other it is nearly blind."""

    def sees(truth):
        sure = truth & (np.arange(PIXELS) % 2 == start)
        return np.where(sure, 0.9, np.where(truth, 0.4, 0.1))

    return sees


def noisy(seed, strength=0.45):
    def sees(truth):
        noise = np.random.default_rng((seed, int(truth.sum()))).normal(0, strength, PIXELS)
        return np.clip(exact(truth) + noise, 0, 1)

    return sees


def test_the_best_member_wins_alone():
    chosen = select(images(truths(8), noisy(0), exact, half(0)), [1, 1, 1])
    assert chosen.weights == (0, 1, 0)
    assert (chosen.single, chosen.gain) == (1, 0)
    assert chosen.dice == (1.0,) * 8


def test_a_complementary_pair_is_mixed():
    chosen = select(images(truths(8), half(0), noisy(0, 3), half(1)), [1, 1, 1])
    assert chosen.weights == (0.5, 0, 0.5)
    assert chosen.dice == (1.0,) * 8
    assert chosen.gain > chosen.standard_error


def test_a_mixture_that_is_better_on_one_image_of_many_is_not_clearly_better():
    """On the last image the two complement each other; on all others the first is as good as it gets."""
    given = images(truths(7), exact, noisy(3, 0.6)) + images(truths(1, 50), half(0), half(1))
    chosen = select(given, [1, 1])
    assert chosen.weights == (1, 0)
    assert sum(chosen.best_weights) == pytest.approx(1)


def test_the_cheaper_member_wins_a_tie():
    assert select(images(truths(4), exact, exact), [2.0, 1.0]).weights == (0, 1)
    assert select(images(truths(4), exact, exact), [1.0, 2.0]).weights == (1, 0)
    dice = np.array([[0.8000, 0.7], [0.8005, 0.7], [0.81, 0.72]])
    assert best_single(dice, [1, 2, 3]) == 2, "a real difference is worth its price"
    assert best_single(dice[:2], [1, 2]) == 0


def test_a_member_that_will_be_better_with_more_steps_wins():
    given = images(truths(8), exact, half(0))
    assert select(given, [1, 1]).weights == (1, 0)
    seen = images(truths(8), noisy(0, 0.6), half(0))
    plain, later = select(seen, [1, 1]), select(seen, [1, 1], lambda weights: float(weights @ [0.0, -1.2]))
    assert (plain.single, later.single) == (0, 1)
    grown = [1 - (1 - dice) * np.exp(-1.2) for dice in plain.candidates[1]]
    assert later.candidates[1] == pytest.approx(grown), "what was compared"


def test_one_image_is_never_enough_for_a_mixture():
    given = images(truths(1), half(0), half(1))
    chosen = select(given, [1, 1])
    assert chosen.gain > 0.1
    assert sorted(chosen.weights) == [0, 1]
    assert chosen.standard_error == float("inf")


def test_everything_that_was_compared_is_there_for_the_optimism():
    chosen = select(images(truths(5), half(0), half(1)), [1, 1])
    assert {len(row) for row in chosen.candidates} == {5}
    assert len(chosen.candidates) == 2 + 8, "the members, then the mixtures"
    assert chosen.dice in chosen.candidates


def test_ignored_pixels_and_most_pixels_of_a_huge_image_do_not_count():
    truth = np.zeros((4, 4), bool)
    truth[:2] = True
    ignored = np.zeros((4, 4), bool)
    ignored[0] = True
    wrong_there = np.where(truth, 0.9, 0.1)
    wrong_there[0] = 0.1
    one = Image.of([wrong_there], truth, ignored)
    assert one.probabilities.shape == (1, 12)
    assert select([one, one], [1]).dice == (1.0, 1.0)
    side = 2500
    huge = Image.of([np.zeros((side, side), np.float16)], np.zeros((side, side), bool), np.zeros((side, side), bool))
    assert huge.truth_N.size <= MAX_PIXELS
