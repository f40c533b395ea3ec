"""The journal is the truth: what it holds, and what is read from it."""

import json
import math
import threading

import numpy as np
import pytest

from ptsam_auto.errors import SearchError
from ptsam_auto.search.records import read_search, standard_error, trials_of
from ptsam_auto.tracking.journal import Journal, read

RUNG = {"loss": 0.3, "seconds": 1.0, "step": 4, "trainable": 256, "encoded": 0}


def rung(trial, epoch, dice, share=0.5):
    return {
        "event": "rung",
        "trial": trial,
        "epoch": epoch,
        "share": share,
        "cells": {"a/0": dice, "a/1": dice},
        **RUNG,
    }


def started(trial):
    return {"event": "started", "trial": trial, "configuration": {"x": trial}, "settings": {"x": trial, "y": 1}}


def test_events_become_trials():
    first, second, third = trials_of([
        started(0), started(1), rung(0, 1, 0.5), rung(1, 1, 0.2), {"event": "stopped", "trial": 1}, started(2),
        rung(0, 2, 0.6, share=1.0), {"event": "finished", "trial": 0}, {"event": "failed", "trial": 2, "error": "why"},
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
    scatter = np.std([np.mean(list(cells.values())) for cells in draws])
    assert np.mean([standard_error(cells) for cells in draws]) == pytest.approx(scatter, rel=0.05)


def test_a_line_that_was_cut_short_is_not_read_and_not_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write({"event": 1})
    with path.open("ab") as file:
        file.write(b'{"event": 2')
    events, offset = read(path)
    assert events == [{"event": 1}]
    with Journal(path) as journal:
        journal.write({"event": 3})
    assert read(path, offset)[0] == [{"event": 3}]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"event": 1}, {"event": 3}]


def write_many(path):
    with Journal(path) as journal:
        for number in range(300):
            journal.write({"event": number, "padding": "x" * number})


def test_a_reader_never_sees_half_an_event(tmp_path):
    path = tmp_path / "journal.jsonl"
    writer = threading.Thread(target=write_many, args=(path,))
    writer.start()
    seen, offset = [], 0
    while len(seen) < 300 and (writer.is_alive() or read(path, offset)[0]):
        events, offset = read(path, offset)
        seen += [event["event"] for event in events]
    writer.join()
    assert seen == list(range(300))


def test_a_folder_that_is_no_search(tmp_path):
    with pytest.raises(SearchError) as error:
        read_search(tmp_path)
    assert str(error.value) == (f"{tmp_path} is not a search: it has no search.json.\nMake one: ptsam-auto search")
