"""A run in MLflow: metrics are sent in batches, and a server that fails never stops training."""

import time
from collections.abc import Mapping
from typing import Any

from ptsam_auto.tracking.store import METRICS_PER_CALL, load_mlflow

BUFFERED = 500  # number of values that are collected before they are sent; each call takes a quarter of a second


class Tracker:
    """Opens, logs and closes one MLflow run.

    Args:
        name: Name of the run.
        parameters: Parameters of the run.
        run_id: Id of an earlier part of the same run, or None.

    Attributes:
        run_id: Id of the run, with which it can be continued after an interruption.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], run_id: str | None = None) -> None:
        mlflow = load_mlflow()
        from mlflow.entities import Metric, Param

        self.client, self.metric = mlflow.MlflowClient(), Metric
        self.waiting: list[Any] = []
        if run_id is None:
            experiment = mlflow.set_experiment("ptsam-auto pretraining")
            run_id = self.client.create_run(experiment.experiment_id, run_name=name).info.run_id
            self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])
        self.run_id: str = run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Collect the values of a step, and send all collected values if there are enough."""
        now = int(time.time() * 1000)
        self.waiting += [self.metric(key, float(value), now, step) for key, value in values.items()]
        if len(self.waiting) >= BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Send the collected values. If the server does not accept them, they are lost and training continues."""
        from mlflow.exceptions import MlflowException

        waiting, self.waiting = self.waiting, []
        try:
            for start in range(0, len(waiting), METRICS_PER_CALL):
                self.client.log_batch(self.run_id, metrics=waiting[start : start + METRICS_PER_CALL])
        except MlflowException as problem:
            print(f"MLflow did not take {len(waiting)} numbers: {problem}")

    def close(self) -> None:
        """Send the remaining values and mark the run as finished."""
        self.flush()
        self.client.set_terminated(self.run_id)
