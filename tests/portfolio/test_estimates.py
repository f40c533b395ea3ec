"""How long something will take is known from how long it took, for each member by itself."""

import pytest

from ptsam_auto.portfolio import estimates
from ptsam_auto.portfolio.estimates import Estimates
from ptsam_auto.portfolio.task import Trial
from ptsam_auto.sam import checkpoint
from tests.portfolio.fakes import FakeCost, World, candidate, task


@pytest.fixture
def two(toy, tmp_path, monkeypatch):
    """The estimates of two members whose trainings should take 10 s and 100 s."""
    monkeypatch.setattr(estimates, "Cost", FakeCost)
    backbone, world = checkpoint.load(toy), World()
    members = [candidate(backbone, world, name, price=price) for name, price in (("quick", 10), ("slow", 100))]
    return Estimates(members, task(tmp_path))


def test_a_member_that_took_three_times_as_long_takes_no_steps_from_another_that_did_not(two):
    two.finished([Trial(0, 0.25, 4)], 30.0)
    assert two.of_final(0, 1.0) == pytest.approx(30)
    assert two.of_final(1, 1.0) == pytest.approx(300), "nothing better is known of it"
    two.finished([Trial(1, 0.1, 4)], 40.0)
    assert two.of_final(0, 1.0) == pytest.approx(30)
    assert two.of_final(1, 1.0) == pytest.approx(100)
    assert two.of_trial(Trial(1, 0.5, 4)) == pytest.approx(200)


def test_members_that_ran_at_the_same_time_are_as_slow_as_both_together(two):
    two.finished([Trial(0, 0.25, 4), Trial(1, 0.1, 4)], 100.0)
    assert (two.of_final(0, 1.0), two.of_final(1, 1.0)) == pytest.approx((20, 200))


def test_what_was_there_before_says_nothing_about_the_machine(two):
    two.finished([Trial(0, 0.25, 4)], None)
    assert two.of_final(0, 1.0) == pytest.approx(10)


def test_a_look_that_was_quicker_than_estimated_leaves_the_final_training_as_long_as_it_was_measured(two):
    """Three minutes took 191 s: the predictions of a look were quicker than estimated, and its steps were not."""
    two.finished([Trial(1, 0.1, 4)], 20.0)
    assert two.of_trial(Trial(1, 0.5, 4)) == pytest.approx(100)
    assert two.of_final(1, 1.0) == pytest.approx(100)
