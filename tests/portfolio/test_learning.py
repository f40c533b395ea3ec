"""A portfolio has members that complement each other, the cheap ones first, and no more than help."""

import pytest

from ptsam_auto.portfolio.learning import Measured, leave_one_out, mean_loss, pick

ALL = ("nuclei", "skin", "plants")


def measured(nuclei, skin, plants, seconds=10.0):
    return Measured({"nuclei": nuclei, "skin": skin, "plants": plants}, seconds)


GENERALIST = measured(0.80, 0.70, 0.70)
TWIN = measured(0.79, 0.70, 0.70)
FOR_SKIN = measured(0.10, 0.90, 0.20)
FOR_PLANTS = measured(0.10, 0.20, 0.80)


def test_members_complement_each_other():
    """A twin of the best is the second best alone, and adds nothing."""
    assert pick([TWIN, FOR_PLANTS, GENERALIST, FOR_SKIN], 4, ALL) == [2, 3, 1]
    assert pick([TWIN, FOR_PLANTS, GENERALIST, FOR_SKIN], 2, ALL) == [2, 3]


def test_a_member_that_takes_hours_comes_after_one_that_takes_seconds():
    slow = measured(0.10, 0.90, 0.20, seconds=3600)
    assert pick([GENERALIST, slow, FOR_PLANTS], 3, ALL) == [0, 2, 1]


def test_the_first_member_is_the_best_however_long_it_takes():
    """With a minute for the choice, a user gets the first member alone."""
    assert pick([measured(0.5, 0.5, 0.5, seconds=1), measured(0.8, 0.8, 0.8, seconds=100)], 2, ALL) == [1]


@pytest.mark.parametrize("other", [(0.80, 0.70, 0.70), (0.70, 0.80, 0.70)], ids=["the same", "the same mean"])
def test_the_cheaper_of_two_equal_configurations_is_tried_first(other):
    """Whatever order the search tried them in; the other one then adds nothing, or only what it does better."""
    quick, slow = measured(*other, seconds=1), GENERALIST
    assert pick([slow, quick], 1, ALL) == [1]
    assert pick([quick, slow], 1, ALL) == [0]


def test_two_specialists_that_are_equal_are_not_both_members():
    assert pick([GENERALIST, measured(0.1, 0.9, 0.2, seconds=100), FOR_SKIN], 3, ALL) == [0, 2]


def test_a_rise_that_nobody_sees_is_not_worth_a_member():
    assert pick([GENERALIST, measured(0.802, 0.1, 0.1)], 2, ALL) == [0]
    assert pick([GENERALIST, measured(0.804, 0.1, 0.1)], 2, ALL) == [0, 1]


def test_a_dataset_that_is_left_out_shows_what_is_lost_on_unseen_images():
    nuclei, skin, plants = results = leave_one_out([GENERALIST, FOR_SKIN, FOR_PLANTS], 3)
    assert (nuclei.without, nuclei.learned, nuclei.best) == (0.80, 0.80, 0.80)
    assert (skin.without, skin.learned, skin.best) == (0.70, 0.90, 0.90), "nothing else asked for the one for skin"
    assert (plants.without, plants.learned) == (0.70, 0.80)
    assert mean_loss(results) == pytest.approx(0.1)


def test_a_portfolio_that_is_too_short_is_seen_beside_the_best():
    *_, plants = leave_one_out([GENERALIST, FOR_SKIN, FOR_PLANTS], 2)
    assert (plants.learned, plants.best) == (0.70, 0.80)
