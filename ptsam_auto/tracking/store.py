"""Imports MLflow with telemetry switched off and with short timeouts. MLflow is imported only here."""

import os
import re
import sys
from types import ModuleType
from typing import Any

from ptsam_auto.extras import require

METRICS_PER_CALL = 1000  # Largest number of metrics in one call of MLflow.
SQLITE = "sqlite:///"
DEFAULT_STORE = f"{SQLITE}mlflow.db"
HELD_OUT = "dice/held_out"  # Metric: mean Dice on images that were not used for the training.
# The tag with which MLflow opens an experiment in its view for training, not in that for language models.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
DESCRIPTION = 120  # Largest number of characters of an error that are shown.


def load_mlflow() -> ModuleType:
    """Import MLflow. Environment variables that the user has set are kept.

    If no tracking server is configured, MLflow writes to ./mlflow.db. If a server does not answer, MLflow reports an
    error after seconds, not minutes.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_TRACKING_URI", DEFAULT_STORE)
    import logging

    require("track", "MLflow's store")
    import mlflow

    # Suppress the log messages of Alembic when a new database is created.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow


def is_wanted(track: bool | None) -> bool:
    """Return whether to log to MLflow.

    Args:
        track: Choice of the user. None: log only if MLflow is configured, by the environment or in Python.
    """
    if track is not None:
        return track
    loaded = sys.modules.get("mlflow")
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (loaded is not None and loaded.is_tracking_uri_set())


def experiment_id(client: Any, name: str) -> str:  # noqa: ANN401 - MLflow's
    """Return the id of an experiment, which is created if it does not exist.

    The experiment that the user has set (MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID) replaces ours.

    Args:
        client: Client of MLflow.
        name: Name of our experiment.
    """
    if wanted := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return wanted
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    existing = client.get_experiment_by_name(name)
    return existing.experiment_id if existing else client.create_experiment(name, tags=MODEL_TRAINING)


def without_secrets(text: str) -> str:
    """Return a text whose addresses have no user, password and query."""
    return re.sub(r"(\w+://)(?:[^\s/@]*@)?([^\s?#]*)(?:[?#]\S*)?", r"\1\2", text)


def described(error: Exception) -> str:
    """Return the type of an error of MLflow or its store, and the first line of its message."""
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    return without_secrets(f"{kind}: {lines[0][:DESCRIPTION]}") if lines else kind


def how_to_browse(uri: str) -> str:
    """Return the URL of a server without user and password, or the command that shows a local store."""
    uri = without_secrets(uri)
    if uri.startswith("http"):
        return uri
    return "ptsam-auto ui" if uri == DEFAULT_STORE else f"MLFLOW_TRACKING_URI={uri} ptsam-auto ui"


def allowed_name(name: str) -> str:
    """Return a name that MLflow accepts: dots, colons, slashes, quotes and other characters are replaced by "_"."""
    return re.sub(r"[^\w -]", "_", name)
