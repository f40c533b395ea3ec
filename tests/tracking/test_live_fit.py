"""A fit can be watched in MLflow while it runs, and an interrupted one goes on in its run."""

import json
import time
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from ptsam_auto.experiment.cross_fit import FoldResult
from ptsam_auto.files import write_text
from ptsam_auto.records import to_sealed_json
from ptsam_auto.specialist.scores import ImageScore
from ptsam_auto.tracking.live_fit import SO_FAR, LiveFit
from ptsam_auto.training.loop import EpochReport

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


def live_fit(work, fingerprint="f" * 64):
    work.mkdir(exist_ok=True)
    return LiveFit("cells-specialist", work, ["quick", "late"], "cells", fingerprint, pause=0.02)


def finish_fold(work, member, fold, *dice):
    folder = work / member / f"fold-{fold}"
    folder.mkdir(parents=True)
    images = tuple(ImageScore(f"{fold}{i}", one, one, 0.3) for i, one in enumerate(dice))
    write_text(folder / "fold.json", to_sealed_json(FoldResult(images, 1.0, {})))


def train(work, final, epochs):
    (work / final).mkdir(exist_ok=True)
    curve = [EpochReport(n, 20 * n, 1 / n, 0.1, 0.5 / n, 0.01, 2.0) for n in range(1, epochs + 1)]
    metadata = {"curve": json.dumps([asdict(report) for report in curve])}
    save_file({"prompts": torch.zeros(1)}, work / final / "checkpoint.safetensors", metadata)


def children(store, live):
    parent = live.runs.parent
    found = store.search_runs([store.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.info.run_name: run for run in found}


def history(store, live, member, key):
    runs = children(store, live)
    return (
        [(m.step, m.value) for m in store.get_metric_history(runs[member].info.run_id, key)] if member in runs else []
    )


def wait_for(happened):
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_folds_and_the_loss_are_seen_while_the_fit_runs(store, tmp_path):
    live = live_fit(tmp_path / "work")
    live.start()
    assert live.problem is None
    parent = store.get_run(live.runs.parent)
    assert (parent.info.status, parent.info.run_name) == ("RUNNING", "cells-specialist")
    assert "in progress" in parent.data.tags["mlflow.note.content"]
    assert children(store, live) == {}
    finish_fold(tmp_path / "work", "member-0-100", 0, 0.7, 0.8)
    wait_for(lambda: history(store, live, "quick", SO_FAR))
    finish_fold(tmp_path / "work", "member-0-100", 1, 0.9)
    wait_for(lambda: len(history(store, live, "quick", SO_FAR)) == 2)
    assert history(store, live, "quick", SO_FAR) == [(1, pytest.approx(0.75)), (2, pytest.approx(0.8))]
    for epochs in (1, 3):
        train(tmp_path / "work", "final-1", epochs)
        wait_for(lambda epochs=epochs: len(history(store, live, "late", "loss/total")) == epochs)
    assert history(store, live, "late", "loss/dice") == [(20, 0.5), (40, 0.25), (60, pytest.approx(1 / 6))]
    runs = live.finish()
    assert (set(runs.children), runs.steps) == ({"quick", "late"}, {"late": 60})
    assert children(store, live)["late"].info.status == "RUNNING", "the log of the fit completes them"


def test_an_interrupted_fit_goes_on_in_its_run_and_sends_nothing_twice(store, tmp_path):
    first = live_fit(tmp_path / "work")
    first.start()
    finish_fold(tmp_path / "work", "member-0-100", 0, 0.7)
    train(tmp_path / "work", "final-0", 2)
    wait_for(lambda: len(history(store, first, "quick", "loss/total")) == 2)
    first.end("KILLED")
    statuses = {store.get_run(run).info.status for run in (first.runs.parent, *first.runs.children.values())}
    assert statuses == {"KILLED"}

    second = live_fit(tmp_path / "work")
    second.start()
    assert (second.runs.parent, second.runs.children) == (first.runs.parent, first.runs.children)
    assert store.get_run(first.runs.parent).info.status == "RUNNING"
    train(tmp_path / "work", "final-0", 3)
    wait_for(lambda: len(history(store, second, "quick", "loss/total")) == 3)
    second.finish()
    assert [step for step, _ in history(store, second, "quick", "loss/total")] == [20, 40, 60]
    assert history(store, second, "quick", SO_FAR) == [(1, pytest.approx(0.7))]

    store.delete_run(first.runs.parent)
    for fingerprint in ("f" * 64, "0" * 64):  # It was deleted, or other images are in the folder now.
        other = live_fit(tmp_path / "work", fingerprint)
        other.start()
        assert other.runs.parent != first.runs.parent
        first = other
        other.finish()


def test_a_server_that_is_down_is_said_and_stops_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr("ptsam_auto.tracking.live_fit.experiment_id", lambda *_: 1 / 0)
    live = live_fit(tmp_path / "work")
    live.start()
    assert (live.problem, live.finish()) == ("ZeroDivisionError: division by zero", None)
    live.end("FAILED")
