"""The budget is kept, the first member is always tried, and an interruption changes nothing."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load

from ptsam_auto.experiment import cross_fit
from ptsam_auto.portfolio import choice, estimates
from ptsam_auto.portfolio.choice import Chooser
from ptsam_auto.portfolio.members import Doubling
from ptsam_auto.sam import checkpoint
from ptsam_auto.terminal import Terminal
from tests.portfolio.fakes import (
    EPOCHS,
    FakeCost,
    Killed,
    World,
    candidate,
    sees_all,
    sees_least,
    sees_left,
    sees_most,
    sees_nothing,
    sees_right,
    task,
    with_world,
)


@pytest.fixture
def backbone(toy):
    return checkpoint.load(toy)


@pytest.fixture
def start(monkeypatch):
    """Begin to choose, in a world of its own."""
    monkeypatch.setattr(estimates, "Cost", FakeCost)

    def begin(candidates, of, world):
        monkeypatch.setattr(choice, "time", world.clock)
        monkeypatch.setattr(cross_fit, "time", world.clock)
        return Chooser(with_world(candidates, world), of, Terminal.silent())

    return begin


def names(candidates, made):
    return [candidates[index].name for index in made.candidates]


def test_the_best_member_is_chosen_and_trained_on_all_images(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all")]
    chooser = start(candidates, task(tmp_path), world)
    made = chooser.choose()
    assert (names(candidates, made), made.weights, made.shares) == (["all"], (1.0,), (1.0,))
    assert made.scores.dice == 1.0
    assert [(tried.name, tried.share) for tried in made.tried] == [("most", 0.25), ("all", 1.0)], "the best alone"
    assert world.trained[:4] == [("most", 6, 0.25)] * 4, "in the order of the portfolio, each without a fold"
    chooser.train(made)
    assert world.trained[-1] == ("all", 8, 1.0)


def test_members_that_complement_each_other_are_mixed(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "left", sees_left), candidate(backbone, world, "blind", sees_nothing),
                  candidate(backbone, world, "right", sees_right)]  # fmt: skip
    chooser = start(candidates, task(tmp_path), world)
    made = chooser.choose()
    assert (names(candidates, made), made.weights) == (["left", "right"], (0.5, 0.5))
    assert made.scores.dice == 1.0
    assert made.gain > made.standard_error
    assert [one.scores.dice for one in chooser.cross_fits(made)] == pytest.approx([0.67, 0.67], abs=0.1)
    assert len(chooser.train(made)) == 2


def _every_second_row_of(sees):
    return lambda truth: np.where(sees_least(truth) > 0.5, sees(truth), 0.1)


@pytest.mark.parametrize(("worth", "members"), [(0.0, 2), (-1.0, 1)])
def test_a_mixture_that_costs_its_best_member_more_steps_than_it_is_worth_is_not_chosen(
    backbone, start, tmp_path, worth, members
):
    world = World()
    candidates = [
        replace(candidate(backbone, world, name, sees, price=100), doubling=Doubling(worth, 0.05, 6))
        for name, sees in (("left", _every_second_row_of(sees_left)), ("right", _every_second_row_of(sees_right)))
    ]
    chooser = start(candidates, task(tmp_path, seconds=200), world)
    made = chooser.choose()
    assert len(made.candidates) == members
    assert sum(made.shares) < 2, "there is no time for all steps of both"
    world.now += 100  # When it goes on, it does not decide anew.
    assert start(candidates, task(tmp_path, seconds=200), world).choose() == made


def test_the_budget_is_kept_and_what_does_not_fit_is_named_with_its_time(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "quick", sees_most), candidate(backbone, world, "slow", price=1000)]
    chooser = start(candidates, task(tmp_path, seconds=100), world)
    made = chooser.choose()
    chooser.train(made)
    assert names(candidates, made) == ["quick"]
    assert made.skipped == (("slow", "about 100 s"),), "one fold"
    assert world.now <= 100
    assert chooser.seconds == world.now


def test_a_member_with_few_steps_is_not_judged_by_a_handful_of_them(backbone, start, tmp_path):
    """Deep prompts learn in 200 steps; after 20 of them they are still nothing."""
    world = World()
    candidates = [
        candidate(backbone, world, "many steps", sees_most),
        candidate(backbone, world, "few steps", epochs=200),
    ]
    made = start(candidates, task(tmp_path, seconds=60), world).choose()
    first = {name: share for name, _, share in reversed(world.trained)}
    assert first["few steps"] == 0.2
    assert first["many steps"] < 0.2
    assert names(candidates, made) == ["few steps"]


def test_more_members_fit_into_a_larger_budget(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "quick", sees_most), candidate(backbone, world, "slow", price=1000)]
    chooser = start(candidates, task(tmp_path, seconds=10_000), world)
    made = chooser.choose()
    chooser.train(made)
    assert (names(candidates, made), made.skipped) == (["slow"], ())
    assert world.now <= 10_000


def test_the_first_member_is_tried_even_if_it_does_not_fit(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "slow", price=1000), candidate(backbone, world, "quick")]
    made = start(candidates, task(tmp_path, seconds=1), world).choose()
    assert names(candidates, made) == ["slow"]
    assert made.shares == (0.1,), "with the smallest fraction of its steps"
    assert [name for name, _ in made.skipped] == ["quick"]


def test_a_slow_machine_never_trains_the_chosen_with_fewer_steps_than_what_was_measured(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all")]
    chooser = start(candidates, task(tmp_path, seconds=115), world)
    world.slowness, world.slow_from = 3.0, 8
    made = chooser.choose()
    assert world.now > 115, "the budget is spent"
    chooser.train(made)
    assert names(candidates, made) == ["all"]
    assert world.trained[-1] == ("all", 8, 1.0), "its score is that of a training with all steps"


def test_a_machine_that_was_slow_so_far_is_given_less_to_do(backbone, start, tmp_path):
    world = World(slowness=3.0)
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all")]
    chooser = start(candidates, task(tmp_path, seconds=115), world)
    made = chooser.choose()
    chooser.train(made)
    assert names(candidates, made) == ["all"]
    assert world.now <= 115


def test_members_that_can_win_are_compared_with_the_same_share_of_their_steps(backbone, start, tmp_path):
    """The one that is tried first has no advantage if the budget does not suffice for all steps of both."""
    world = World()
    candidates = [candidate(backbone, world, "left", sees_left), candidate(backbone, world, "right", sees_right)]
    chooser = start(candidates, task(tmp_path, seconds=80), world)
    made = chooser.choose()
    chooser.train(made)
    shares = {name: share for name, images, share in world.trained if images == 6}
    assert 0.25 < shares["left"] == shares["right"] < 1
    assert world.now <= 80


def test_a_quick_member_of_a_mixture_has_all_its_steps_and_leaves_the_rest_to_the_slow_one(backbone, start, tmp_path):
    world = World()
    quick, slow = (
        candidate(backbone, world, "left", sees_left),
        candidate(backbone, world, "right", sees_right, price=100),
    )
    made = start([quick, slow], task(tmp_path, seconds=140), world).choose()
    assert names([quick, slow], made) == ["left", "right"]
    of_quick, of_slow = made.shares
    assert of_quick == 1.0
    assert 0.1 < of_slow < 1


def test_a_member_that_is_clearly_worse_is_looked_at_only_shortly(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "all"), candidate(backbone, world, "blind", sees_nothing)]
    start(candidates, task(tmp_path), world).choose()
    assert {share for name, _, share in world.trained if name == "blind"} == {0.25}


def test_one_configuration_is_cross_fitted_with_all_its_steps_and_no_budget(backbone, start, tmp_path):
    world = World()
    made = start([candidate(backbone, world, "mine", sees_most, price=1e6)], task(tmp_path), world).choose()
    assert world.trained == [("mine", 6, 1.0)] * 4
    assert (made.candidates, made.weights, made.shares, made.gain) == ((0,), (1.0,), (1.0,), None)
    assert made.expected.optimism == 0
    assert made.expected.low < made.scores.dice < made.expected.high


def test_without_cross_fitting_the_first_member_is_used(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "first", sees_most), candidate(backbone, world, "better")]
    chooser = start(candidates, task(tmp_path, folds=(tuple(range(8)),)), world)
    made = chooser.choose()
    assert (names(candidates, made), made.scores, made.expected, world.trained) == (["first"], None, None, [])
    assert chooser.cross_fits(made) == []


def portfolio(backbone):
    world = World()
    return [candidate(backbone, world, "blind", sees_nothing), candidate(backbone, world, "left", sees_left),
            candidate(backbone, world, "right", sees_right)]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "trainings", "killed_at"),
    [(1000, 22, number) for number in (0, 1, 6, 12, 16, 20, 21)] + [(35, 12, number) for number in (0, 5, 6, 8, 9, 11)],
)
def test_killed_at_any_moment_it_ends_with_the_same_choice_and_repeats_no_fold(
    backbone, start, tmp_path, seconds, trainings, killed_at
):
    """The second budget suffices for the first look at half of the folds only, and for the other half."""
    candidates, world = portfolio(backbone), World()
    chooser = start(candidates, task(tmp_path / "undisturbed", seconds=seconds), world)
    undisturbed = chooser.choose()
    chooser.train(undisturbed)
    assert len(undisturbed.candidates) == 2
    assert len(world.trained) == trainings > killed_at

    first, second = World(killed_at=killed_at), World()
    killed = start(candidates, task(tmp_path / "killed", seconds=seconds), first)
    with pytest.raises(Killed):
        killed.train(killed.choose())
    chooser = start(candidates, task(tmp_path / "killed", seconds=seconds), second)
    made = chooser.choose()
    chooser.train(made)
    assert (made.candidates, made.weights, made.shares) == (
        undisturbed.candidates, undisturbed.weights, undisturbed.shares
    )  # fmt: skip
    assert made.scores == undisturbed.scores
    assert made.expected == undisturbed.expected
    of_folds = [one for one in first.trained + second.trained if one[1] == 6]
    assert of_folds == [one for one in world.trained if one[1] == 6]


def test_a_larger_budget_does_not_change_a_choice_whose_final_training_has_begun(backbone, start, tmp_path):
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most, price=10),
                  candidate(backbone, world, "better", sees_all, price=300)]  # fmt: skip
    first = start(candidates, task(tmp_path, seconds=60), world).choose()
    assert names(candidates, first) == ["most"]
    again = World()
    chooser = start(candidates, task(tmp_path, seconds=100_000), again)
    made = chooser.choose()
    assert (made.candidates, made.shares, again.trained) == (first.candidates, first.shares, [])
    assert len(chooser.train(made)) == 1


@pytest.mark.parametrize("change", ["settings", "images", "folds", "seed"])
def test_results_of_other_settings_or_images_are_not_taken_for_these(backbone, start, tmp_path, change):
    earlier, now = task(tmp_path), task(tmp_path)
    rate = 0.05
    if change == "settings":
        rate = 0.01
    elif change == "images":
        now = task(tmp_path, images=9, folds=((0, 4), (1, 5), (2, 6), (3, 7, 8)))
    elif change == "folds":
        now = task(tmp_path, folds=((0, 1, 2, 3), (4, 5, 6, 7)))
    else:
        now = task(tmp_path, seed=1)
    world = World(killed_at=2)
    with pytest.raises(Killed):
        start([candidate(backbone, world, "mine", sees_nothing)], earlier, world).choose()
    bank = tmp_path / "bank"
    bank.mkdir(exist_ok=True)
    (bank / "kept.arrow").touch()
    world = World()
    made = start([candidate(backbone, world, "mine", sees_all, learning_rate=rate)], now, world).choose()
    assert made.scores.dice == 1.0
    assert len(made.scores.images) == len(now.pairs)
    assert len(world.trained) == len(now.folds), "every fold is trained anew"
    assert (bank / "kept.arrow").exists(), "features are named by what they are of"


def test_a_damaged_plan_is_made_again(backbone, start, tmp_path):
    (tmp_path / "plan.json").write_text('{"share": 0.2')
    world = World()
    made = start([candidate(backbone, world, "mine")], task(tmp_path), world).choose()
    assert made.scores.dice == 1.0


def test_a_member_that_was_looked_at_long_enough_takes_no_time_from_the_second_look_at_others(
    backbone, start, tmp_path
):
    """Deep prompts get two fifths of their steps at once; a second look at a quick member then is still affordable."""
    world = World()
    slow = candidate(backbone, world, "slow", sees_most, price=100, epochs=100)
    quick = candidate(backbone, world, "quick", sees_most)
    chooser = start([slow, quick], task(tmp_path, seconds=340), world)
    chooser.choose()
    looks = [(name, share) for name, _, share in world.trained]
    assert looks[:4] == [("slow", 0.4)] * 2 + [("quick", 0.25)] * 2
    assert looks[4:6] == [("slow", 0.4)] * 2, "the other half of its folds"
    assert {name for name, _ in looks[6:]} == {"quick"}
    assert all(share > 0.25 for _, share in looks[6:])


def test_if_time_is_short_all_members_are_looked_at_with_half_of_the_folds(backbone, start, tmp_path):
    """So a slow member that is better is found; before, the budget did not suffice to look at it."""
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all", price=100),
                  candidate(backbone, world, "blind", sees_nothing)]  # fmt: skip
    chooser = start(candidates, task(tmp_path, seconds=90), world)
    made = chooser.choose()
    chooser.train(made)
    of_folds = [(name, share) for name, images, share in world.trained if images == 6]
    assert of_folds[:6] == [("most", 0.1)] * 2 + [("all", 0.1)] * 2 + [("blind", 0.1)] * 2
    assert [name for name, _ in of_folds[6:]] == ["all"] * 2, "only what can win gets the other half"
    assert (names(candidates, made), made.images) == (["all"], tuple(range(8)))
    assert [(tried.name, len(tried.scores.images)) for tried in made.tried] == [("most", 4), ("all", 8), ("blind", 4)]
    assert world.now <= 90


def test_if_there_is_no_time_for_the_other_half_of_the_folds_the_score_is_that_of_their_images(
    backbone, start, tmp_path
):
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all", price=100)]
    chooser = start(candidates, task(tmp_path, seconds=44), world)
    made = chooser.choose()
    assert (names(candidates, made), made.images) == (["all"], (0, 1, 4, 5))
    assert [image.name for image in made.scores.images] == [f"disc{number:02}" for number in made.images]
    assert [len(one.folds) for one in chooser.cross_fits(made)] == [2]
    chooser.train(made)
    assert world.trained[-1][:2] == ("all", 8), "it is trained on all images"
    assert world.now <= 50


def test_what_the_steps_are_worth_that_the_cross_fit_did_not_have_is_expected_too(backbone, start, tmp_path):
    world = World()
    slow = candidate(backbone, world, "slow", sees_most, price=100)
    candidates = [candidate(backbone, world, "blind", sees_nothing), replace(slow, doubling=Doubling(-0.3, 0.05, 6))]
    made = start(candidates, task(tmp_path, seconds=44), world).choose()
    assert names(candidates, made) == ["slow"]
    of_fold = made.tried[1].share  # The specialist goes on from the prompts of a fold, so it has its steps, too.
    doublings = math.log2((of_fold + made.shares[0]) / of_fold)
    assert doublings > 0.5
    error = 1 - made.scores.dice
    assert made.expected.more_steps == pytest.approx(error * (1 - math.exp(-0.3 * doublings)))
    assert made.expected.dice == pytest.approx(1 - error + made.expected.more_steps - made.expected.optimism)


def test_a_member_that_learns_late_is_compared_as_it_will_be(backbone, start, tmp_path):
    """After a quarter of their steps, LiteMedSAM's deep prompts are 5 to 15 points behind what they reach."""
    world = World()
    early, late = (candidate(backbone, world, name, sees, price=100) for name, sees in
                   (("early", sees_most), ("late", sees_least)))  # fmt: skip
    candidates = [replace(early, doubling=Doubling(0.0, 0.05, 6)), replace(late, doubling=Doubling(-0.7, 0.05, 6))]
    made = start(candidates, task(tmp_path / "known", seconds=250), world).choose()
    assert names(candidates, made) == ["late"]
    of_early, of_late = made.tried
    assert of_late.scores.dice < of_early.scores.dice, "so far"
    doublings = math.log2((of_late.share + made.shares[0]) / of_late.share)
    assert doublings > 1
    assert of_late.compared == pytest.approx(1 - (1 - of_late.scores.dice) * math.exp(-0.7 * doublings))
    assert made.expected.dice == pytest.approx(of_late.compared - made.expected.optimism)

    world.now += 100  # An interruption: less time is left, but the choice is made.
    assert start(candidates, task(tmp_path / "known", seconds=250), world).choose() == made

    unknown = [early, candidates[1]]  # What is not known of one is assumed of none.
    made = start(unknown, task(tmp_path / "unknown", seconds=world.now + 250), world).choose()
    assert names(unknown, made) == ["early"]
    assert {one.compared for one in made.tried} == {None}


def test_in_the_shortest_time_a_slow_member_that_is_better_is_still_looked_at(backbone, start, tmp_path):
    """Three minutes on two cores do not suffice for half of the folds of deep prompts on LiteMedSAM."""
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all", price=100)]
    chooser = start(candidates, task(tmp_path, seconds=24), world)
    made = chooser.choose()
    assert (names(candidates, made), made.images) == (["all"], (0, 4))
    assert [(tried.name, len(tried.scores.images)) for tried in made.tried] == [("most", 2), ("all", 2)]
    chooser.train(made)
    assert world.now <= 30


@pytest.mark.parametrize(("seconds", "threads"), [(20, {None}), (90, {None, 1})])
def test_in_the_shortest_time_none_goes_into_measuring_how_fast_processes_are_that_are_not_used(
    backbone, monkeypatch, tmp_path, seconds, threads
):
    """To measure deep prompts on LiteMedSAM with one thread took 12 of 180 s."""
    asked = set()

    class Cost(FakeCost):
        def __init__(self, trainer, images, train, device, threads, speeds):
            super().__init__(trainer, images, train, device, threads, speeds)
            asked.add(threads)

    monkeypatch.setattr(estimates, "Cost", Cost)
    candidates = [candidate(backbone, World(), "most", sees_most), candidate(backbone, World(), "all", price=100)]
    runner = SimpleNamespace(at_once=2, threads=1, worth_from=30.0, most_gain=1.5)
    Chooser(candidates, replace(task(tmp_path, seconds), runner=runner), Terminal.silent())
    assert asked == threads


def test_a_member_that_shows_early_what_it_will_be_has_a_short_look_and_then_all_its_folds(backbone, start, tmp_path):
    """Deep prompts that begin at learned ones say after 20 steps what others say after 40."""
    found = {}
    for fewest in (40, 20):
        world = World()
        early = replace(candidate(backbone, world, "early", price=100), fewest_steps=fewest)
        chooser = start([candidate(backbone, world, "most", sees_most), early],
                        task(tmp_path / str(fewest), seconds=44), world)  # fmt: skip
        made = chooser.choose()
        chooser.train(made)
        looks = [(images, share) for name, images, share in world.trained if name == "early"]
        found[fewest] = [share for images, share in looks if images == 6], looks[-1]
    assert found[40] == ([0.1] * 2, (8, pytest.approx(0.22, abs=0.03)))
    assert found[20][0] == [0.05] * 4, "the other folds of the same look fit, too"
    assert found[20][1] == (8, pytest.approx(0.22, abs=0.03))


@pytest.mark.parametrize(("worth", "images", "share"), [(-0.05, 8, 0.48), (-0.3, 4, 0.68)])
def test_a_look_at_the_only_one_that_can_win_takes_no_steps_from_the_specialist_that_are_worth_half_a_point(
    backbone, start, tmp_path, worth, images, share
):
    """On skin, such a look took a minute of three, and the specialist had 71 steps: 81.7 instead of 84.9."""
    world = World()
    slow = candidate(backbone, world, "slow", sees_most, price=100)
    blind = replace(candidate(backbone, world, "blind", sees_nothing), doubling=Doubling(0.0, 0.05, 6))
    chooser = start([blind, replace(slow, doubling=Doubling(worth, 0.05, 6))], task(tmp_path, seconds=90), world)
    made = chooser.choose()
    chooser.train(made)
    assert made.tried[1].name == "slow"
    assert len(made.tried[1].scores.images) == images
    assert world.trained[-1] == ("slow", 8, pytest.approx(share, abs=0.02))


@pytest.mark.parametrize(("seconds", "begins_there"), [(90, True), (None, False)])
def test_without_time_for_all_steps_a_specialist_begins_at_the_prompts_of_the_first_fold(
    backbone, start, tmp_path, seconds, begins_there
):
    """Of three minutes, 20 steps of deep prompts went into looking at them, and the specialist had 48 of its own."""
    world = World()
    candidates = [candidate(backbone, world, "most", sees_most), candidate(backbone, world, "all", price=100)]
    chooser = start(candidates, task(tmp_path, seconds), world)
    made = chooser.choose()
    chooser.train(made)
    folds, final = world.starts[:-1], world.starts[-1]
    assert folds == [None] * len(folds), "what is measured has seen no image of its fold"
    assert world.trained[-1][:2] == ("all", 8)
    if not begins_there:
        assert final is None
        return
    chosen, *_ = chooser.cross_fits(made)
    share = next(tried.share for tried in made.tried if tried.name == "all")
    assert final.learned == chosen.learned(0).read_bytes()
    assert final.steps == pytest.approx(share * EPOCHS, abs=1)
    first_fold = [(name, images) for name, images, _ in world.trained].index(("all", 6))
    assert load(final.learned)["number"] == first_fold + 1
