"""MLflow set up for a lab: imported here only, without telemetry, and never waited for long."""

import os
import re
from types import ModuleType

BATCH = 1000  # metrics in one call, MLflow's limit


def quiet_mlflow() -> ModuleType:
    """Import MLflow; what the user has set in the environment stands.

    Unasked it writes to ./mlflow.db, and gives up on a server that does not answer within seconds rather than minutes.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    import logging

    import mlflow

    # Alembic narrates the creation of a new database, dozens of lines.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow


def plain(name: str) -> str:
    """A name that MLflow takes for models, files and metrics: it refuses dots, colons, slashes, quotes and more."""
    return re.sub(r"[^\w -]", "_", name)
