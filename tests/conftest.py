import os

# Before torch is imported.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import pytest

from tests.toys import toy_checkpoint, write_folder


@pytest.fixture(autouse=True)
def no_own_defaults(tmp_path, monkeypatch):
    """What a developer has frozen for themselves has no part in a test."""
    monkeypatch.setenv("PTSAM_AUTO_DEFAULTS", str(tmp_path / "own-defaults.toml"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A backbone that makes a fit take seconds: a toy SAM's checkpoint."""
    return str(toy_checkpoint(tmp_path_factory.mktemp("toy") / "toy.safetensors"))


@pytest.fixture
def discs(tmp_path):
    """Six annotated images."""
    return write_folder(tmp_path / "discs", 6)
