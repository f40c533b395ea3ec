import shutil

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database with nothing in it; making one takes seconds."""
    from ptsam_auto.tracking.quiet import quiet_mlflow

    path = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow = quiet_mlflow()
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


@pytest.fixture(scope="session")
def ray():
    """Ray with two CPUs, for the whole session: starting it takes as long as several searches."""
    from ptsam_auto.search import tuner

    tuner.ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100 * 2**20,
    )
    yield tuner.ray
    tuner.ray.shutdown()
