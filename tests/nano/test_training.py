import itertools
import math

import pytest
import torch
from safetensors.torch import load_file

from nano import checkpoint
from nano.batches import StepBatches, vocabulary
from nano.learner import Learner, random_weights
from nano.loop import steps
from nano.probe import probe, probe_images
from nano.recipe import Recipe, Stage, parse_stage
from nano.sources import Scenes
from ptsam_auto.errors import ConfigError
from ptsam_auto.sam.checkpoint import load
from tests.nano.scenery import TwoScenes
from tests.toys import TOY, toy_sam

pytestmark = pytest.mark.slow  # a part of the whole suite; the edit-test loop stays under a minute

PLAN = Recipe((Stage(64, 2, 3, 1e-3), Stage(128, 1, 3, 1e-3)), warm_up=2)


def learner(recipe=PLAN):
    return Learner(random_weights(TOY, seed=1), recipe.stages[0].size, recipe, len(vocabulary(Scenes())))


def same_tensors(first, second):
    return (
        all(tensor.equal(second[part][name]) for part, state in first.items() for name, tensor in state.items())
        and first.keys() == second.keys()
    )


@pytest.fixture(scope="module")
def undisturbed():
    whole = learner()
    return whole, list(steps(whole, Scenes(), seed=0))


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_resuming_ends_with_bit_identical_weights(tmp_path, undisturbed, stop):
    whole, _ = undisturbed
    cut = learner()
    for report in steps(cut, Scenes(), seed=0):
        if report.step == stop:
            break
    checkpoint.save(cut, tmp_path, {"seed": 0})
    resumed = learner()
    assert checkpoint.restore(resumed, tmp_path, {"seed": 0})
    assert resumed.step == stop
    assert [report.step for report in steps(resumed, Scenes(), seed=0)] == list(range(stop + 1, 7))
    assert resumed.images == whole.images == 9
    assert same_tensors(resumed.parts(), whole.parts())


def test_the_same_seed_gives_the_same_run(undisturbed):
    _, reports = undisturbed
    again = learner()
    assert [report.loss for report in steps(again, Scenes(), seed=0, workers=0)] == [report.loss for report in reports]
    assert [report.size for report in reports] == [64] * 3 + [128] * 3


def test_a_toy_learns_two_scenes():
    toy = learner(Recipe((Stage(64, 2, 100, 1e-3),), warm_up=3))
    batch = StepBatches(TwoScenes(), seed=0, batch=2, size=64)[0]
    losses = [float(toy.train_step(batch, progress=0.0)[0].loss.detach()) for _ in range(10)]
    assert losses[-1] < 0.75 * losses[0]


def test_a_toy_learns_the_prompts_of_concepts():
    toy = learner(Recipe((Stage(64, 2, 100, 1e-3),), warm_up=3))
    batch = StepBatches(TwoScenes(), seed=0, batch=2, size=64)[0]
    concepts = batch.prompts["concept"].concepts.unique()
    before = toy.auxiliary.concept_prompts_VPD.detach().clone()
    found = [toy.train_step(batch, progress=0.0)[0].iou["concept"] for _ in range(25)]
    assert max(found[-5:]) > found[0] + 0.1
    moved = (toy.auxiliary.concept_prompts_VPD.detach() - before).abs().sum((1, 2)) > 0
    assert set(moved.nonzero().flatten().tolist()) == set(concepts.tolist())


def test_a_kill_between_two_checkpoints_leaves_the_older_one(tmp_path):
    some = learner()
    run = steps(some, Scenes(), seed=0)
    next(run)
    checkpoint.save(some, tmp_path, {})
    (tmp_path / ".state.json.part").write_text("half a file")
    (tmp_path / "checkpoint-0000002.safetensors").write_bytes(b"whole, but not named by state.json")
    resumed = learner()
    assert checkpoint.restore(resumed, tmp_path, {})
    assert resumed.step == 1
    next(run)
    checkpoint.save(some, tmp_path, {})
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-0000002.safetensors"]


def test_another_seed_does_not_continue_a_run(tmp_path):
    checkpoint.save(learner(), tmp_path, {"seed": 0})
    with pytest.raises(ConfigError) as caught:
        checkpoint.restore(learner(), tmp_path, {"seed": 1})
    assert str(caught.value) == (
        f"{tmp_path} holds a run with seed 0; now it is 1.\n"
        "Name another --out, or repeat the command that the run began with."
    )
    assert not checkpoint.restore(learner(), tmp_path / "new", {"seed": 1})


def test_the_clock_can_end_a_run_with_its_learning_rate_decayed(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("nano.learner.time.monotonic", lambda: 0.05 * next(ticks))
    short = learner(Recipe((Stage(64, 1, 1000, 1e-3),), warm_up=0, constant=0.0))
    reports = list(steps(short, TwoScenes(), seed=0, seconds=1.0))
    assert len(reports) == 20
    assert reports[-1].learning_rate < 0.01 * reports[0].learning_rate


def test_an_export_is_a_backbone_in_half_precision(tmp_path):
    some = learner()
    next(steps(some, TwoScenes(), seed=0))
    digest = checkpoint.export(some.average, tmp_path / "exports" / "toy.safetensors", {"steps": "1"})
    backbone = load(str(tmp_path / "exports" / "toy.safetensors"))
    assert backbone.sha256 == digest
    assert {tensor.dtype for tensor in load_file(tmp_path / "exports" / "toy.safetensors").values()} == {torch.float16}
    for name, tensor in backbone.sam.state_dict().items():
        torch.testing.assert_close(tensor, some.average[name].half().float())


def test_from_scratch_queries_and_keys_are_tied():
    state = random_weights(TOY, seed=0)
    attention = "mask_decoder.transformer.final_attn_token_to_image"
    assert state[f"{attention}.q_proj.weight"].equal(state[f"{attention}.k_proj.weight"])
    assert state["image_encoder.pos_embed"].std() > 0.01
    again = random_weights(TOY, seed=0)
    assert all(tensor.equal(again[name]) for name, tensor in state.items())


def test_resizing_keeps_moments_usable():
    some = learner()
    next(steps(some, TwoScenes(), seed=0))
    some.resize(128)
    parts = some.parts()
    assert parts["first"]["image_encoder.pos_embed"].shape == (1, 8, 8, 24)
    assert all((tensor >= 0).all() for tensor in parts["second"].values())


def test_the_probe_has_the_same_prompts_at_every_call():
    images = probe_images([], 64)
    assert len(images) == 10
    sam = toy_sam()
    first, again = probe(sam, images), probe(sam, probe_images([], 64))
    assert first == again
    assert first.prompts[0] == first.prompts[1] > 10
    assert first.prompts[2] > 2
    assert 0 <= first.click_chosen <= first.click <= 1


def test_the_learning_rate_warms_up_stays_and_decays():
    recipe = Recipe((Stage(64, 1, 50, 4e-4), Stage(128, 1, 50, 2e-4)), warm_up=10, balance=1.0)
    rates = [recipe.learning_rate(step, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(4e-5)
    assert rates[9] == rates[40] == 4e-4
    assert rates[49] > rates[50] > rates[99] > 0
    assert rates[99] < 1e-6
    assert recipe.balance_at(0.3) == 1.0
    assert recipe.balance_at(0.75) == 0.5
    assert recipe.balance_at(1.0) == 0.0
    assert recipe.averaging_at(0) == 0.1
    assert recipe.averaging_at(10**6) == 0.998
    assert math.isclose(recipe.learning_rate(60, 0.7), 2e-4 * 0.5)


@pytest.mark.parametrize("text", ["256", "256:8:100", "256:8:100:fast", "256:8:100:1e-4:9", "large:8:100:1e-4"])
def test_a_stage_of_another_form_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_stage(text)
    assert str(caught.value) == f"A stage is SIZE:BATCH:STEPS:PEAK, such as 256:8:2500:4e-4; found {text!r}."


@pytest.mark.parametrize("text", ["250:8:100:1e-4", "256:0:100:1e-4", "256:8:0:1e-4", "256:8:100:2"])
def test_a_stage_out_of_range_is_refused(text):
    with pytest.raises(ConfigError, match=r"^A stage needs a size that is a multiple of 16 px"):
        parse_stage(text)


def test_a_stage_is_read():
    assert parse_stage("384:4:1000:2e-4") == Stage(384, 4, 1000, 2e-4)
