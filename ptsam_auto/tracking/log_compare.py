"""Logs a comparison to MLflow: one parent run with tables and figures, and one child run per training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptsam_auto.compare.record import RECORD_FILE, ComparisonRecord
from ptsam_auto.tracking.run_group import RunGroup

EXPERIMENT = "ptsam-auto compare"
TABLE = "trainings.json"  # a table that MLflow shows
MAX_PARAMETER_LENGTH = 500  # Largest number of characters of a parameter in MLflow.


@dataclass(frozen=True)
class Row:
    """The child run of one training.

    Args:
        name: Name of the training.
        parameters: Its parameters.
        metrics: Its metrics.
        ended: Time of its end, seconds since 1970.
        seconds: Its duration.
    """

    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    ended: float
    seconds: float


def log_comparison(record: ComparisonRecord, rows: Sequence[Row], files: Sequence[Path]) -> str:
    """Log all trainings that are not in MLflow yet, and replace tables and figures.

    Args:
        record: Contents of comparison.json.
        rows: The trainings.
        files: Files for the parent run.

    Returns:
        Address of the tracking server or file.

    Raises:
        Exception: An error of MLflow or its store; they have no common type.
    """
    from mlflow.entities import Metric, Param

    def fill(client: Any, parent: str) -> None:  # noqa: ANN401 - MLflow's
        request = {key: str(value)[:MAX_PARAMETER_LENGTH] for key, value in asdict(record.request).items()}
        client.log_batch(parent, params=[Param(key, value) for key, value in request.items()])
        client.log_dict(parent, asdict(record), RECORD_FILE)

    name = ", ".join(dataset.name for dataset in record.data)
    group = RunGroup.open(EXPERIMENT, "comparison", "training", name, record.origin, record.data, fill)
    client = group.client
    for row in rows:
        if row.name in group.children:
            continue
        end_ms = int(1000 * row.ended)
        child = group.child(row.name, row.name, end_ms - int(1000 * row.seconds))
        metrics = [Metric(key, float(value), end_ms, 0) for key, value in row.metrics.items()]
        client.log_batch(child, metrics, [Param(key, str(value)) for key, value in row.parameters.items()])
        client.set_terminated(child, "FINISHED", end_ms)
    for path in files:
        client.log_artifact(group.parent, str(path), "figures" if path.parent.name == "figures" else None)
    if rows:
        shown = [{"training": row.name, **row.parameters, **row.metrics} for row in rows]
        client.log_table(group.parent, {key: [one[key] for one in shown] for key in shown[0]}, TABLE)
    group.end()
    return client.tracking_uri
