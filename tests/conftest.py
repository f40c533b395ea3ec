import os
import shutil
import signal
import sys
import time

# A shell that runs the tests in the background has them ignore Ctrl-C, and so the commands that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import pytest
import torch

from tests.sam.published import TOY_TINY, published_state
from tests.toys import toy_checkpoint, write_folder


@pytest.fixture(autouse=True)
def no_own_defaults(tmp_path, monkeypatch):
    """What a developer has frozen for themselves has no part in a test."""
    monkeypatch.setenv("PTSAM_AUTO_DEFAULTS", str(tmp_path / "own-defaults.toml"))
    monkeypatch.delenv("PTSAM_AUTO_PORTFOLIO", raising=False)
    # MLflow sets it where a program names its experiment, for the rest of the process.
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line; returns exit code, standard output and standard error."""

    from ptsam_auto import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ptsam-auto", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A backbone that makes a fit take seconds: a toy SAM's checkpoint."""
    return str(toy_checkpoint(tmp_path_factory.mktemp("toy") / "toy.safetensors"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The checkpoint of a small SAM of LiteMedSAM's kind: a TinyViT, 256 px, masks of the input's resolution."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    torch.save(published_state(TOY_TINY), path)
    return str(path)


@pytest.fixture
def discs(tmp_path):
    """Six annotated images."""
    return write_folder(tmp_path / "discs", 6)


@pytest.fixture(scope="session")
def started_ray():
    """Ray with two CPUs, for the whole session: starting it takes long."""
    yield start_ray()
    from ptsam_auto.distributed import cluster

    cluster.ray.shutdown()


@pytest.fixture
def ray(started_ray):
    """Ray with two free CPUs. A test that failed may have left workers; the next one would wait for their CPUs."""
    if not started_ray.is_initialized():
        start_ray()
    deadline = time.monotonic() + 30
    while started_ray.available_resources().get("CPU", 0) < 2:
        if time.monotonic() > deadline:
            started_ray.shutdown()
            start_ray()
            break
        time.sleep(0.2)
    return started_ray


@pytest.fixture
def no_ray():
    """A process in which Ray does not run, so that what needs it starts it, as a command does."""
    from ptsam_auto.distributed import cluster

    cluster.ray.shutdown()


def start_ray():
    from ptsam_auto.distributed import cluster

    cluster.ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100 * 2**20,
    )
    return cluster.ray


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database with nothing in it; making one takes seconds."""
    from ptsam_auto.tracking.store import load_mlflow

    path = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow = load_mlflow()
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    """A lab's MLflow; returns its client."""
    import mlflow

    path = tmp_path / "lab.db"
    shutil.copy(empty_store, path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    mlflow.set_tracking_uri(None)
    return mlflow.MlflowClient()
