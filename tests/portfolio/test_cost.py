"""Estimates of time grow with what is done, and parts of a recipe are recipes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.portfolio import cost
from ptsam_auto.portfolio.cost import Cost, Speed, shortened
from ptsam_auto.sam import checkpoint
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer
from tests.toys import pairs

RECIPE = Recipe(epochs=20, steps_per_epoch=10, batch_size=2, views=8)


@pytest.fixture
def trainer(toy):
    return SamTrainer(checkpoint.load(toy), Settings(method=PTSAMConfig(tiles=1), recipe=RECIPE))


@pytest.mark.parametrize(("share", "epochs", "views"), [(1, 20, 8), (0.5, 10, 4), (0.25, 5, 2), (0.1, 2, 2)])
def test_a_share_of_the_steps_has_a_share_of_the_views(share, epochs, views):
    short = shortened(RECIPE, share)
    assert (short.epochs, short.views, short.steps_per_epoch) == (epochs, views, 10)
    assert shortened(replace(RECIPE, views=0), share).views == 0, "fresh views stay fresh"
    assert shortened(replace(RECIPE, views=1), share).views == 1


def test_a_share_of_few_epochs_is_not_rounded_to_whole_ones():
    """Three minutes had time for 49 steps of deep prompts, and 40 were taken."""
    deep = Recipe(epochs=16, steps_per_epoch=20, batch_size=1, views=0)
    assert [shortened(deep, share).steps for share in (1, 0.154, 0.125, 0.17, 0.0625, 0.01)] == [320, 48, 40, 54, 20, 3]


def test_the_estimate_counts_views_steps_and_tiles(trainer, monkeypatch):
    monkeypatch.setattr(cost, "_measured", lambda trainer, device, same: Speed(encode=1.0, step=0.01, decode=0.1))
    one = Cost(trainer, pairs(16), 16, "cpu")
    assert one.cross_fit(4, 1.0) == pytest.approx(16 * 8 + 4 * 200 * 0.01 + 16 * 1.1)
    assert one.cross_fit(4, 1.0, views_before=8) == pytest.approx(4 * 200 * 0.01 + 16 * 0.1), "nothing to encode"
    assert one.cross_fit(4, 0.25) < one.cross_fit(4, 1.0)
    assert one.final(1.0, 8) == pytest.approx(200 * 0.01)
    assert one.per_image == pytest.approx(1.1)
    assert Cost(trainer, pairs(16), 20, "cpu").final(1.0, 8) == pytest.approx(4 * 8 + 200 * 0.01), "images not seen yet"
    tiles = replace(trainer, settings=replace(trainer.settings, method=PTSAMConfig(tiles=2)))
    assert Cost(tiles, pairs(16), 16, "cpu").per_image > 2 * one.per_image, "more tiles"


def test_this_machine_is_measured(trainer):
    one = Cost(trainer, pairs(2), 2, "cpu")
    assert 0 < one.per_image < 10
    assert one.cross_fit(2, 1.0) > one.final(1.0, 8) > 0


def test_half_of_the_folds_take_half_of_the_steps_and_predictions_and_all_of_the_views(trainer, monkeypatch):
    monkeypatch.setattr(cost, "_measured", lambda trainer, device, same: Speed(encode=1.0, step=0.01, decode=0.1))
    one = Cost(trainer, pairs(16), 16, "cpu")
    assert one.cross_fit(4, 1.0, run=2) == pytest.approx(16 * 8 + 2 * 200 * 0.01 + 8 * 1.1)


def test_members_that_differ_in_their_tiles_only_are_measured_once(trainer, monkeypatch):
    measured = []

    def remembered(trainer, device, same):
        measured.append((trainer, same))
        return Speed(1.0, 0.01, 0.1)

    monkeypatch.setattr(cost, "_measured", remembered)
    speeds = {}
    tiles = replace(trainer, settings=replace(trainer.settings, method=PTSAMConfig(tiles=2)))
    prompts = replace(trainer, settings=replace(trainer.settings, method=PTSAMConfig(decoder_prompts=2)))
    for one in (trainer, tiles, prompts):
        Cost(one, pairs(2), 2, "cpu", threads=1, speeds=speeds)
    assert tiles not in [one for one, _ in measured]
    assert {id(one) for one, _ in measured} == {id(trainer), id(prompts)}
    assert all(same == Speed(1.0, 0.01, 0.1) for one, same in measured if one is prompts), "only its step is new"


def test_of_a_second_member_on_the_same_backbone_only_the_step_is_measured(trainer):
    same = Speed(encode=3.0, step=4.0, decode=5.0)
    found = cost._measured(trainer, "cpu", same)
    assert (found.encode, found.decode) == (3.0, 5.0)
    assert 0 < found.step < 4


@pytest.mark.parametrize(("durations", "found"), [((9.0, 0.75, 0.5, 0.6), 0.5), ((9.0, 3.0), 3.0)])
def test_a_step_that_is_slow_at_first_is_not_taken_for_a_slow_one(monkeypatch, durations, found):
    now, left = [0.0], list(durations)

    def work():
        now[0] += left.pop(0)
        return torch.zeros(1)

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert cost._seconds(work, "cpu") == pytest.approx(found)
    assert not left, "a slow network is measured once"
