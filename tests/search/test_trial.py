"""A configuration is trained on all cells in lockstep, goes on where it was, and shares what is encoded."""

from functools import partial

import pytest
import torch

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import ptsam
from ptsam_auto.sam.checkpoint import load
from ptsam_auto.search.held_out import HeldOut
from ptsam_auto.search.space import Choice, settings_of
from ptsam_auto.search.trial import rungs, trial
from ptsam_auto.specialist.evaluate import evaluate
from ptsam_auto.specialist.predict import predict
from ptsam_auto.training import feature_files
from tests.search.toys import QUICK, cells, space, task
from tests.toys import pairs

CONFIGURATION = {"recipe.learning_rate": 0.05, "method.decoder_prompts": 8}


@pytest.fixture(autouse=True)
def threads():
    """A trial sets how many threads its process computes with; the tests' process gets its own back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def settings(**changes):
    return settings_of({}, space(), {**CONFIGURATION, **changes})


def told(reports):
    """What a report says apart from how long it took."""
    return [{key: value for key, value in report.items() if key not in ("seconds", "encoded")} for report in reports]


def test_all_cells_are_at_the_same_epoch_at_every_rung(tmp_path, toy):
    reports = list(trial(0, settings(), task(tmp_path, toy)))
    assert [(report["share"], report["epoch"], report["step"]) for report in reports] == [
        (0.25, 1, 2), (0.5, 2, 4), (1.0, 4, 8)
    ]  # fmt: skip
    for report in reports:
        assert set(report["cells"]) == {"discs/0", "discs/1", "more/0", "more/1"}
        assert all(0 <= dice <= 1 for dice in report["cells"].values())
        assert report["trainable"] == 2048
    seconds = [report["seconds"] for report in reports]
    assert seconds == sorted(seconds)


def test_a_trial_whose_worker_died_goes_on_and_ends_the_same(tmp_path, toy):
    whole = told(trial(0, settings(), task(tmp_path / "whole", toy)))
    cut = task(tmp_path / "cut", toy)
    first = trial(0, settings(), cut)
    before = [next(first), next(first)]
    first.close()
    after = list(trial(0, settings(), cut))
    assert after[0]["epoch"] == 2, "the rung it stood at may have been lost, so it is told again"
    assert told([*before[:1], *after]) == whole
    assert after[0]["encoded"] == 0


def test_another_trials_checkpoint_is_not_continued(tmp_path, toy):
    shared = task(tmp_path, toy)
    next(trial(0, settings(), shared))
    again = list(trial(0, settings(**{"recipe.learning_rate": 0.01}), shared))
    assert [report["epoch"] for report in again] == [1, 2, 4]


def test_the_second_trial_encodes_nothing(tmp_path, toy):
    shared = task(tmp_path, toy)
    first = next(trial(0, settings(), shared))
    # 4 cells of 3 images x 2 views to train on and 2 images to measure on.
    assert first["encoded"] == 4 * (3 * 2 + 2)
    assert next(trial(1, settings(**{"method.decoder_prompts": 1}), shared))["encoded"] == 0


def test_a_smaller_bank_is_the_beginning_of_the_largest(tmp_path, toy):
    assert space(search={"recipe.views": Choice((1, 2))}).most_views == 2
    shared = task(tmp_path, toy)
    assert next(trial(0, settings(**{"recipe.views": 1}), shared))["encoded"] == 4 * (3 * 2 + 2)
    assert next(trial(1, settings(), shared))["encoded"] == 0


def test_with_encoder_prompts_everything_passes_through_the_encoder(tmp_path, toy):
    tuned = settings(**{"method.encoder_prompts": 2, "recipe.views": 0})
    report = next(trial(0, tuned, task(tmp_path, toy, of=cells()[:1])))
    assert report["encoded"] == 0
    assert report["trainable"] == 2048 + 2 * 2 * 24


@pytest.mark.parametrize("tiles", [1, 2])
def test_measuring_from_kept_features_is_measuring(tmp_path, toy, tiles):
    backbone = load(toy)
    model = ptsam.build(backbone.sam, ptsam.PTSAMConfig(tiles=tiles, prompt_std=1.0), seed=0)
    held_out = HeldOut(tmp_path, model, backbone.sha256, pairs(4))
    assert (held_out.encoded > 4) == (tiles == 2)
    exact = [image.dice for image in evaluate(partial(predict, model), pairs(4)).images]
    assert 0 < min(exact) <= max(exact) < 1
    assert held_out.dice(model) == pytest.approx(exact, abs=0.005), "half precision moves single pixels"
    assert HeldOut(tmp_path, model, backbone.sha256, pairs(4)).encoded == 0


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
