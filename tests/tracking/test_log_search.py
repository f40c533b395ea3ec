"""MLflow gets every event once, whenever it is there; a server that is not costs nothing."""

import time

import mlflow
import pytest

from ptsam_auto.experiment.journal import Journal
from ptsam_auto.search.record import Ended, Measured, Rung, Started
from ptsam_auto.tracking.log_search import EXPERIMENT, SearchLog
from ptsam_auto.tracking.store import described, how_to_browse, without_secrets
from tests.search.toys import record

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy and others


def trial(number, dice=0.5, state="finished"):
    start = 1_700_000_000.0 + 10 * number
    yield Started(number, start, {}, {"recipe.epochs": number})
    for epoch in (1, 2):
        folds = {"discs/0": dice, "discs/1": dice + 0.1 * epoch}
        yield Measured(number, start + epoch, Rung(0.5, epoch, 20 * epoch, folds, 0.3, 1.0), 2048, 0)
    yield Ended(number, start + 5, state, "too hot" if state == "failed" else None)


def write(folder, *events):
    with Journal(folder / "journal.jsonl") as journal:
        for event in events:
            journal.write(event)


def send(folder, files=(), done=True):
    log = SearchLog(folder, record(), pause=0.05)
    log.start()
    return log.finish(files, done), log


def runs(store):
    experiment = store.get_experiment_by_name(EXPERIMENT)
    found = store.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in found if run is not parent}
    assert len(children) == len(found) - 1, "a trial has two runs"
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} <= {parent.info.run_id}
    return parent, children


def test_a_parent_and_a_child_a_trial(store, tmp_path):
    write(tmp_path, *trial(0), *trial(1, 0.6), *trial(2, state="failed"), *trial(3, 0.9, "stopped"))
    (tmp_path / "history.svg").write_text("<svg/>")
    address, _ = send(tmp_path, [tmp_path / "history.svg"])
    assert address == f"sqlite:///{tmp_path}/lab.db"
    parent, children = runs(store)
    assert parent.info.run_name == "toy"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["ptsam.commit"] == "c0ffee"
    assert parent.data.tags["ptsam.fingerprint.discs"] == "f" * 64
    artifacts = [one.path for one in store.list_artifacts(parent.info.run_id)]
    assert artifacts == ["figures", "search.json", "toy.yaml"]
    assert set(children) == {"trial 0", "trial 1", "trial 2", "trial 3"}
    child = children["trial 1"]
    assert child.data.params == {"backbone": "nano", "adapt": "decoder", "recipe.epochs": "1"}
    history = store.get_metric_history(child.info.run_id, "dice/held_out")
    assert [(point.step, pytest.approx(point.value)) for point in history] == [(20, 0.65), (40, 0.7)]
    assert child.data.metrics["dice_of_split/discs 1"] == pytest.approx(0.8)
    assert child.data.metrics["dice_of_dataset/discs"] == pytest.approx(0.7)
    assert child.info.end_time - child.info.start_time == 5000
    assert (children["trial 2"].info.status, children["trial 2"].data.tags["ptsam.error"]) == ("FAILED", "too hot")
    assert children["trial 3"].info.status == "KILLED", "ASHA stopped it"
    assert parent.data.metrics["dice/held_out"] == pytest.approx(0.7), "of the finished ones"
    assert (parent.data.metrics["trials/finished"], parent.data.metrics["trials/stopped"]) == (2, 1)
    (used,) = parent.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("discs", "f" * 36)


def test_a_finished_search_keeps_its_end(store, tmp_path):
    write(tmp_path, *trial(0))
    send(tmp_path)
    ended = runs(store)[0].info.end_time
    time.sleep(0.01)
    send(tmp_path)
    assert runs(store)[0].info.end_time == ended


def test_no_password_reaches_the_disk_or_a_message(store, tmp_path, monkeypatch):
    secret = "http://me:hunter2@127.0.0.1:9/?token=hunter3"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    write(tmp_path, *trial(0))
    log = send(tmp_path)[1]
    assert "hunter" not in log.problem
    assert how_to_browse(secret) == "http://127.0.0.1:9/"
    assert (
        without_secrets("sqlite:////lab/mlflow.db and http://a.b:5000/x")
        == "sqlite:////lab/mlflow.db and http://a.b:5000/x"
    )
    assert described(ValueError("no http://u:p@host/a?x=1 there")) == "ValueError: no http://host/a there"


def test_an_experiment_that_the_user_names_is_used(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    write(tmp_path, *trial(0))
    assert send(tmp_path)[0]
    assert store.get_experiment_by_name(EXPERIMENT) is None
    assert len(store.search_runs([store.get_experiment_by_name("ours").experiment_id])) == 2


def test_what_was_sent_is_not_sent_again_and_what_is_new_joins_it(store, tmp_path):
    first, *rest = trial(1)
    write(tmp_path, *trial(0), first)
    assert send(tmp_path, done=False)[0]
    write(tmp_path, *rest)
    (tmp_path / "sent.json").write_text("{}")  # as if killed before it took note
    assert send(tmp_path)[0]
    _, children = runs(store)
    assert set(children) == {"trial 0", "trial 1"}
    for child in children.values():
        assert child.info.status == "FINISHED"
        assert [point.step for point in store.get_metric_history(child.info.run_id, "dice/held_out")] == [20, 40]


def test_a_server_that_is_down_loses_nothing(store, tmp_path, monkeypatch):
    lab = f"sqlite:///{tmp_path}/lab.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    write(tmp_path, *trial(0))
    address, log = send(tmp_path)
    assert address is None
    assert log.problem.startswith("MlflowException: ")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lab)
    mlflow.set_tracking_uri(None)
    assert send(tmp_path)[0] == lab
    assert set(runs(store)[1]) == {"trial 0"}


def test_a_server_that_goes_away_and_comes_back_gets_the_rest(store, tmp_path, monkeypatch):
    sent = SearchLog._send_trial
    calls = []

    def flaky(self, group, number, events):
        calls.append(number)
        if len(calls) in (2, 3):
            raise ConnectionError("gone")
        sent(self, group, number, events)

    monkeypatch.setattr(SearchLog, "_send_trial", flaky)
    write(tmp_path, *trial(0), *trial(1), *trial(2))
    log = SearchLog(tmp_path, record(), pause=0.05)
    log.start()
    assert any(len(calls) >= 5 or log._ended.wait(0.02) for _ in range(1000))
    assert log.finish([], done=True)
    _, children = runs(store)
    assert set(children) == {"trial 0", "trial 1", "trial 2"}
    assert all(len(store.get_metric_history(run.info.run_id, "dice/held_out")) == 2 for run in children.values())
