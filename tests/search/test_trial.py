"""A configuration is trained on all cells in lockstep, goes on where it was, and shares what is encoded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptsam_auto.errors import ConfigError
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.experiment.workspace import FoldRun
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam.checkpoint import load
from ptsam_auto.search.space import settings_of
from ptsam_auto.search.trial import run_trial, rungs
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.training import feature_files, joint
from tests.search.toys import QUICK, folds, space, task
from tests.toys import pairs, sample

CONFIGURATION = {"recipe.learning_rate": 0.05, "method.decoder_prompts": 8}


@pytest.fixture(autouse=True)
def threads():
    """A trial sets how many threads its process computes with; the tests' process gets its own back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def settings(**changes):
    return settings_of({}, space(), {**CONFIGURATION, **changes})


def without_time(reports):
    """What a report says apart from how long it took."""
    return [(replace(report.rung, seconds=0.0), report.trainable) for report in reports]


def test_all_folds_are_at_the_same_epoch_at_every_rung(tmp_path, toy):
    reports = list(run_trial(0, settings(), task(tmp_path, toy)))
    assert [(report.rung.share, report.rung.epoch, report.rung.step) for report in reports] == [
        (0.25, 1, 2), (0.5, 2, 4), (1.0, 4, 8)
    ]  # fmt: skip
    for report in reports:
        assert set(report.rung.folds) == {"discs/0", "discs/1", "more/0", "more/1"}
        assert all(0 <= dice <= 1 for dice in report.rung.folds.values())
        assert report.trainable == 2048
    seconds = [report.rung.seconds for report in reports]
    assert seconds == sorted(seconds)


def test_a_trial_whose_worker_died_goes_on_and_ends_the_same(tmp_path, toy):
    whole = without_time(run_trial(0, settings(), task(tmp_path / "whole", toy)))
    cut = task(tmp_path / "cut", toy)
    first = run_trial(0, settings(), cut)
    before = [next(first), next(first)]
    first.close()
    after = list(run_trial(0, settings(), cut))
    assert after[0].rung.epoch == 2, "the rung it stood at may have been lost, so it is told again"
    assert without_time([*before[:1], *after]) == whole
    assert after[0].encoded == 0


def test_a_trial_whose_folds_are_trained_together_ends_the_same(tmp_path, toy, monkeypatch):
    apart = list(run_trial(0, settings(), task(tmp_path / "apart", toy)))
    monkeypatch.setattr(joint, "pays", lambda device: True)
    together = list(run_trial(0, settings(), task(tmp_path / "together", toy)))
    assert [report.rung.step for report in together] == [report.rung.step for report in apart]
    for mine, its in zip(together, apart, strict=True):
        assert mine.rung.loss == pytest.approx(its.rung.loss, abs=1e-4)
        assert mine.rung.folds == pytest.approx(its.rung.folds, abs=0.01)


def test_another_trials_checkpoint_is_not_continued(tmp_path, toy):
    shared = task(tmp_path, toy)
    next(run_trial(0, settings(), shared))
    again = list(run_trial(0, settings(**{"recipe.learning_rate": 0.01}), shared))
    assert [report.rung.epoch for report in again] == [1, 2, 4]


def test_the_second_trial_encodes_nothing(tmp_path, toy):
    shared = task(tmp_path, toy)
    first = next(run_trial(0, settings(), shared))
    # 4 folds of 3 images x 2 views to train on and 2 images to measure on.
    assert first.encoded == 4 * (3 * 2 + 2)
    assert next(run_trial(1, settings(**{"method.decoder_prompts": 1}), shared)).encoded == 0


def test_a_trial_with_more_views_encodes_only_those_that_are_new(tmp_path, toy):
    shared = task(tmp_path, toy)
    assert next(run_trial(0, settings(**{"recipe.views": 2}), shared)).encoded == 4 * (3 * 2 + 2)
    more = settings(**{"recipe.views": 4, "recipe.epochs": 40})
    assert next(run_trial(1, more, shared)).encoded == 4 * 3 * 2


def test_with_encoder_prompts_everything_passes_through_the_encoder(tmp_path, toy):
    tuned = settings(**{"method.encoder_prompts": 2, "recipe.views": 0})
    report = next(run_trial(0, tuned, task(tmp_path, toy, of=folds()[:1])))
    assert report.encoded == 0
    assert report.trainable == 2048 + 2 * 2 * 24


@pytest.mark.slow
def test_on_a_tiny_vit_trials_share_what_is_encoded_and_are_measured_on_masks_of_its_input_size(tmp_path, tiny):
    shared = task(tmp_path, tiny, of=folds()[:1])
    slow = settings(**{"recipe.learning_rate": 0.001, "recipe.epochs": 1})
    (first,) = run_trial(0, slow, shared)
    assert (first.rung.step, first.encoded, first.trainable) == (2, 3 * 2 + 2, 2048)
    (again,) = run_trial(1, slow, shared)
    assert again.encoded == 0
    assert (again.rung.loss, again.rung.folds) == (first.rung.loss, first.rung.folds)

    trained = FoldRun(shared.folds[0], slow, shared.workspace, shared.checkpoints(0)).run
    assert len(trained.curve) == 1, "what the trial has learned"
    features = next(trained.model.tile_features(sample(0).image))
    assert trained.model.decode(features[None]).shape == (1, 256, 256)
    exact = evaluate(trained.model.predict, shared.folds[0].held_out).dice
    assert 0.1 < exact < 0.9, "neither nothing nor everything"
    assert first.rung.folds["discs/0"] == pytest.approx(exact, abs=0.005), "half precision moves single pixels"


@pytest.mark.parametrize("tiles", [1, 2])
def test_measuring_from_kept_features_is_measuring(tmp_path, toy, tiles):
    backbone = load(toy)
    model = sam_methods.build(backbone.sam, PTSAMConfig(tiles=tiles, prompt_std=1.0), seed=0)
    held_out = HeldOut(tmp_path, backbone.sha256, pairs(4))
    assert (held_out.encode(model) > 4) == (tiles == 2)
    exact = [image.dice for image in evaluate(model.predict, pairs(4)).images]
    assert 0 < min(exact) <= max(exact) < 1
    found = [image.dice for image in held_out.scores(model).images]
    assert found == pytest.approx(exact, abs=0.005), "half precision moves single pixels"
    assert HeldOut(tmp_path, backbone.sha256, pairs(4)).encode(model) == 0


def test_rungs_that_fall_on_one_epoch_are_one():
    assert rungs((0.25, 0.5, 1.0), 8) == [(0.25, 2), (0.5, 4), (1.0, 8)]
    assert rungs((0.25, 0.5, 1.0), 2) == [(0.5, 1), (1.0, 2)]
    assert rungs((0.25, 0.5, 1.0), 1) == [(1.0, 1)]


def test_files_that_another_process_is_making_are_waited_for_not_made_again(tmp_path, monkeypatch):
    from filelock import FileLock

    paths = [tmp_path / f"{name}.arrow" for name in "ab"]
    other = FileLock(paths[0].with_suffix(".lock"))
    other.acquire()
    made = []

    def make(i):
        made.append(i)
        import pyarrow as pa

        return pa.record_batch({"number": [i]})

    def the_other_one_is_done(_):
        assert made == [1], "what nobody works on is made meanwhile"
        feature_files._write(paths[0], make(9))
        other.release()

    monkeypatch.setattr(feature_files.time, "sleep", the_other_one_is_done)
    assert feature_files.fill(paths, make) == 1
    assert made == [1, 9]
    assert feature_files.read(paths[0]).column("number").to_pylist() == [9]


def test_settings_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigError):
        settings(**{"method.encoder_prompts": 2})
    assert QUICK["recipe.views"] == 2


def test_a_trial_on_several_classes_has_prompts_for_each(tmp_path, toy):
    def halved(pair):
        def load():
            one = pair.load()
            numbers = one.mask.astype(np.uint8)
            numbers[:, 32:] *= 2  # The right half of each disc is another class.
            return replace(one, mask=numbers)

        return load

    fold = replace(folds(halved)[0], classes=2)
    *_, report = run_trial(0, settings(), task(tmp_path, toy, of=[fold]))
    (alone,) = {report.trainable for report in run_trial(1, settings(), task(tmp_path, toy, of=folds()[:1]))}
    assert report.trainable == 2 * alone
    assert 0 <= report.rung.folds["discs/0"] <= 1
