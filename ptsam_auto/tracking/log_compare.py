"""A comparison in MLflow: one parent run with tables and figures, a child for each training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptsam_auto.tracking.log_search import NAME, PARENT
from ptsam_auto.tracking.quiet import plain, quiet_mlflow

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
    mlflow = quiet_mlflow()
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    runs = client.search_runs([experiment], f"tags.`ptsam.comparison` = '{about['id']}'", max_results=1)
    if runs:
        parent = runs[0].info.run_id
    else:
        tags = {NAME: ", ".join(one["name"] for one in about["data"]), "ptsam.comparison": about["id"]}
        tags |= {f"ptsam.fingerprint.{plain(one['name'])}": one["fingerprint"] for one in about["data"]}
        parent = client.create_run(experiment, tags={**tags, "ptsam.commit": about["commit"] or "unknown"}).info.run_id
        asked = {key: str(value)[:500] for key, value in about["asked"].items()}
        client.log_batch(parent, params=[Param(key, value) for key, value in asked.items()])
        client.log_dict(parent, about, "comparison.json")
    known, token = set(), None
    while True:
        page = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent}'", max_results=1000, page_token=token)
        known |= {run.data.tags["ptsam.bout"] for run in page}
        token = page.token
        if not token:
            break
    for row in rows:
        if row["name"] in known:
            continue
        tags = {NAME: row["name"], PARENT: parent, "ptsam.bout": row["name"]}
        child = client.create_run(experiment, tags=tags).info.run_id
        metrics = [Metric(key, float(value), 0, 0) for key, value in row["metrics"].items()]
        client.log_batch(child, metrics, [Param(key, str(value)) for key, value in row["parameters"].items()])
        client.set_terminated(child)
    for path in files:
        client.log_artifact(parent, str(path), "figures" if path.parent.name == "figures" else None)
    client.set_terminated(parent)
    return client.tracking_uri
