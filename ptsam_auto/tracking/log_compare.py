"""A comparison in MLflow: one parent run with tables and figures, a child for each training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptsam_auto.tracking.family import Family

EXPERIMENT = "ptsam-auto compare"


def log_comparison(about: dict[str, Any], rows: Sequence[dict[str, Any]], files: Sequence[Path]) -> str:
    """Log what is not there yet; called again, it adds what is new and replaces tables and figures.

    Args:
        about: the contents of comparison.json.
        rows: name, parameters and metrics of each training.
        files: for the parent run.

    Returns:
        The tracking store's address.

    Raises:
        Exception: whatever MLflow and its stores raise; there is no common type.
    """
    from mlflow.entities import Metric, Param

    family = Family(EXPERIMENT, "comparison", "bout", about)
    client = family.client

    def fill(parent: str) -> None:
        asked = {key: str(value)[:500] for key, value in about["asked"].items()}
        client.log_batch(parent, params=[Param(key, value) for key, value in asked.items()])
        client.log_dict(parent, about, "comparison.json")

    family.open(", ".join(one["name"] for one in about["data"]), fill)
    for row in rows:
        if row["name"] in family.children:
            continue
        child = family.child(row["name"], row["name"])
        metrics = [Metric(key, float(value), 0, 0) for key, value in row["metrics"].items()]
        client.log_batch(child, metrics, [Param(key, str(value)) for key, value in row["parameters"].items()])
        client.set_terminated(child)
    for path in files:
        client.log_artifact(family.parent, str(path), "figures" if path.parent.name == "figures" else None)
    client.set_terminated(family.parent)
    return client.tracking_uri
