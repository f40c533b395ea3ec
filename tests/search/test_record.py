"""What a search has on disk, and what is read from it."""

import math

import numpy as np
import pytest

from ptsam_auto.errors import SearchError
from ptsam_auto.records import to_json
from ptsam_auto.search.record import Ended, Measured, Rung, Started, read_search, standard_error, trials_of
from tests.search.toys import record


def rung(trial, epoch, dice, share=0.5):
    return Measured(trial, 0.0, Rung(share, epoch, 4, {"a/0": dice, "a/1": dice}, 0.3, 1.0), 256, 0)


def started(trial):
    return Started(trial, 0.0, {"x": trial}, {"x": trial, "y": 1})


def ended(trial, event, error=None):
    return Ended(trial, 0.0, event, error)


def test_events_become_trials():
    first, second, third = trials_of([
        started(0), started(1), rung(0, 1, 0.5), rung(1, 1, 0.2), ended(1, "stopped"), started(2),
        rung(0, 2, 0.6, share=1.0), ended(0, "finished"), ended(2, "failed", "why"),
    ])  # fmt: skip
    assert (first.state, first.dice, [each.epoch for each in first.rungs]) == ("finished", 0.6, [1, 2])
    assert (second.state, second.dice, second.configuration) == ("stopped", 0.2, {"x": 1})
    assert (third.state, third.error, third.rungs) == ("failed", "why", [])
    assert math.isnan(third.dice)


def test_a_rung_that_is_reported_again_counts_once():
    (trial,) = trials_of([started(0), rung(0, 1, 0.5), rung(0, 2, 0.1), rung(0, 2, 0.6)])
    assert [(each.epoch, each.dice) for each in trial.rungs] == [(1, 0.5), (2, 0.6)]


def test_the_standard_error_is_of_splits_not_of_datasets():
    easy_and_hard = {"easy/0": 0.90, "easy/1": 0.92, "hard/0": 0.30, "hard/1": 0.34}
    variance = (np.var([0.90, 0.92], ddof=1) + np.var([0.30, 0.34], ddof=1)) / 2
    assert standard_error(easy_and_hard) == pytest.approx(np.sqrt(variance / 4))
    assert standard_error({"easy/0": 0.9, "easy/1": 0.9, "hard/0": 0.3, "hard/1": 0.3}) == 0
    assert math.isnan(standard_error({"easy/0": 0.9, "hard/0": 0.3}))


def test_it_is_the_error_of_the_mean():
    """Drawn often, means scatter by what a single draw's standard error says."""
    rng = np.random.default_rng(0)
    draws = [{f"{d}/{s}": d / 3 + rng.normal(0, 0.05) for d in range(3) for s in range(4)} for _ in range(2000)]
    scatter = np.std([np.mean(list(folds.values())) for folds in draws])
    assert np.mean([standard_error(folds) for folds in draws]) == pytest.approx(scatter, rel=0.05)


def test_a_folder_that_is_no_search(tmp_path):
    with pytest.raises(SearchError) as error:
        read_search(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is not a search: it has no search.json.\nTo make one, run: ptsam-auto search"
    )


def test_a_record_that_is_damaged_is_said_by_its_field(tmp_path):
    (tmp_path / "search.json").write_text(to_json(record()).replace('"splits": 2', '"splits": "two"'))
    with pytest.raises(SearchError) as error:
        read_search(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/search.json is damaged (request.splits: Input should be a valid integer).\n"
        "Restore it from a copy, or run the search again."
    )


def test_a_record_comes_back_as_it_went(tmp_path):
    (tmp_path / "search.json").write_text(to_json(record()))
    assert read_search(tmp_path).record == record()
