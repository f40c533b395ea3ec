"""MLflow's own server, killed while a search is logged to it: nothing is lost, and nothing is there twice."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient

from ptsam_auto import fit
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.log_search import SearchLog
from tests.search.toys import record
from tests.tracking.test_log_search import runs, trial, write
from tests.tracking.test_ui import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@contextmanager
def serving(folder, port):
    """MLflow's server over a database in a folder; its whole session is killed at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store, files = f"sqlite:///{folder}/server.db", str(folder / "files")
    command += ["--backend-store-uri", store, "--artifacts-destination", files]
    server = subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": ""},
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_server_that_is_killed_in_the_middle_has_every_trial_once_in_the_end(
    tmp_path, monkeypatch, discs, toy, capfd
):
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.chdir(tmp_path)
    log = SearchLog(tmp_path, record(), pause=0.2)
    with serving(tmp_path, port):
        write(tmp_path, *trial(0), *list(trial(1))[:2])
        log.start()
        deadline = time.monotonic() + 60
        while not (tmp_path / "sent.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    write(tmp_path, *list(trial(1))[2:], *trial(2))
    began = time.monotonic()
    assert log.finish((), True) is None, "the server is gone"
    assert log.problem
    fit(discs, out=tmp_path / "made", backbone=toy, folds=2, track=True, terminal=Terminal(),
        settings={"recipe.epochs": 1, "recipe.steps_per_epoch": 1, "recipe.views": 1})  # fmt: skip
    assert "The specialist is not affected." in capfd.readouterr().err
    assert (tmp_path / "made" / "specialist.json").exists()
    assert time.monotonic() - began < 120, "it waits for a server that is gone"

    with serving(tmp_path, port):
        again = SearchLog(tmp_path, record(), pause=0.2)
        again.start()
        assert again.finish((), True) == f"http://127.0.0.1:{port}"
        parent, children = runs(MlflowClient())
        assert parent.info.status == "FINISHED"
        assert {name: child.info.status for name, child in children.items()} == {
            f"trial {number}": "FINISHED" for number in range(3)
        }
        for child in children.values():
            history = MlflowClient().get_metric_history(child.info.run_id, "dice/held_out")
            assert [point.step for point in history] == [20, 40]
