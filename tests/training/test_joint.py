"""Prompt sets that are trained together become what they become alone."""

from dataclasses import astuple, replace

import pytest
import torch

from ptsam_auto.errors import PtsamError
from ptsam_auto.methods import prompt_free
from ptsam_auto.methods.autosam import AutoSAMConfig
from ptsam_auto.methods.cellseg1 import CellSeg1Config
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.training import joint
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.run import Job, Run, epochs
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup
from tests.toys import pairs

RECIPE = Recipe(epochs=3, steps_per_epoch=3, batch_size=2, views=2, learning_rate=0.02)
# Seed, first image, number of images, prompts, recipe: no two sets have much in common.
SETS = (
    (0, 0, 3, 8, RECIPE),
    (1, 1, 4, 8, replace(RECIPE, learning_rate=0.05, batch_size=3)),
    (2, 2, 3, 2, replace(RECIPE, learning_rate=0.01, loss_size="input", views=0)),
    (3, 0, 5, 8, replace(RECIPE, epochs=2, steps_per_epoch=5, cross_entropy_weight=0.5, weight_decay=0.1)),
    (4, 0, 3, 2, replace(RECIPE, warmup_steps=4)),
)


@pytest.fixture
def runs(tmp_path, toy):
    """A function that makes the runs anew."""
    backbone = checkpoint.load(toy)

    def one(seed, first, images, prompts, recipe):
        settings = Settings(PTSAMConfig(decoder_prompts=prompts), recipe)
        return Run(Job(backbone, settings, tuple(pairs(images, first)), seed), "cpu", tmp_path / "bank")

    return lambda: [one(*of) for of in SETS]


def alone(runs):
    for run in runs:
        for _ in run.epochs():
            pass
    return runs


def assert_equal(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.step == other.step == one.job.settings.recipe.steps
        for mine, its in zip(one.curve, other.curve, strict=True):
            assert astuple(replace(mine, seconds=0)) == pytest.approx(astuple(replace(its, seconds=0)), abs=1e-4)
        torch.testing.assert_close(one.model.decoder_prompts, other.model.decoder_prompts, atol=1e-4, rtol=0)


def test_sets_trained_together_equal_those_trained_alone(runs, monkeypatch):
    """Images, seeds, learning rates, lengths, batches, losses and numbers of prompts differ."""
    apart = alone(runs())
    passes, original = [], prompt_free.decode

    def counted(sam, features, prompts, *rest):
        passes.append(tuple(prompts.shape))
        return original(sam, features, prompts, *rest)

    monkeypatch.setattr(prompt_free, "decode", counted)
    together = runs()
    reports = list(epochs(together))
    assert passes[:2] == [(2 + 3 + 2, 8, 256), (2 + 2, 2, 256)], "one pass for each number of prompts"
    assert [len(some) for some in reports] == [5, 5, 4], "a set that is at its end is left out"
    assert_equal(together, apart)
    assert all(report.seconds > 0 for some in reports for report in some)


def test_interrupted_between_two_checkpoints_all_sets_end_the_same(runs, tmp_path):
    files = [tmp_path / f"{number}.safetensors" for number in range(len(SETS))]
    next(epochs(runs(), checkpoints=files))
    files[1].unlink()  # as if it had been killed before this one was written the first time
    again = runs()
    for run, file in zip(again, files, strict=True):
        run.resume(file)
    assert [len(run.curve) for run in again] == [1, 0, 1, 1, 1]
    list(epochs(again, checkpoints=files))
    assert_equal(again, alone(runs()))


def test_a_loss_that_is_no_number_names_the_learning_rate_of_its_own_set(runs):
    broken = runs()
    with torch.no_grad():
        broken[1].model.decoder_prompts.fill_(float("nan"))
    with pytest.raises(PtsamError, match=r"The loss is nan at step 0.*\(now 0.05\)"):
        next(epochs(broken))
    assert not any(run.curve for run in broken)


def test_on_a_cpu_sets_are_trained_one_after_another(runs):
    some = runs()
    assert joint.groups(some) == [[run] for run in some]


def test_on_a_gpu_only_prompts_on_a_frozen_sam_are_trained_together(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(joint, "pays", lambda device: True)
    backbone = checkpoint.load(toy)

    def run(method, workers=SINGLE_WORKER, batch_size=2):
        job = Job(backbone, Settings(method, Recipe(batch_size=batch_size)), tuple(pairs(2)), 0)
        return Run(job, "cpu", tmp_path, workers)

    prompts = [run(PTSAMConfig()) for _ in range(3)]
    rest = [
        run(PTSAMConfig(encoder_prompts=2)),
        run(CellSeg1Config()),
        run(AutoSAMConfig()),
        run(PTSAMConfig(), WorkerGroup(0, 2)),
    ]
    assert joint.groups([*prompts, *rest]) == [prompts, *([one] for one in rest)]
    large = [run(PTSAMConfig(), batch_size=12) for _ in range(3)]
    assert joint.groups(large) == [large[:2], large[2:]], "at most 32 images a step"
