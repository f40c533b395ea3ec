"""The run in MLflow, for those who ask: metrics in batches, a store that fails never stops training."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptsam_auto.tracking.quiet import BATCH, quiet_mlflow

ENOUGH = 500  # waiting numbers before they are written; single calls cost a quarter of a second each


class Tracker:
    """Open, log and close one MLflow run.

    Args:
        name: of the run.
        parameters: of the run.
        run_id: of an earlier part of the same run, or None.

    Attributes:
        run_id: to go on with after an interruption.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], run_id: str | None = None) -> None:
        mlflow = quiet_mlflow()
        from mlflow.entities import Metric, Param

        self.client, self.metric = mlflow.MlflowClient(), Metric
        self.waiting: list[Any] = []
        if run_id is None:
            experiment = mlflow.set_experiment("ptsam-auto pretraining")
            run_id = self.client.create_run(experiment.experiment_id, run_name=name).info.run_id
            self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])
        self.run_id: str = run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers; they are written once enough are waiting."""
        now = int(time.time() * 1000)
        self.waiting += [self.metric(key, float(value), now, step) for key, value in values.items()]
        if len(self.waiting) >= ENOUGH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting; a store that does not answer costs these numbers and nothing else."""
        from mlflow.exceptions import MlflowException

        waiting, self.waiting = self.waiting, []
        try:
            for start in range(0, len(waiting), BATCH):
                self.client.log_batch(self.run_id, metrics=waiting[start : start + BATCH])
        except MlflowException as problem:
            print(f"MLflow did not take {len(waiting)} numbers: {problem}")

    def attach(self, path: Path) -> None:
        """Keep a file with the run; a store that does not answer costs the file and nothing else."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_artifact(self.run_id, str(path))
        except (MlflowException, OSError) as problem:
            print(f"MLflow did not take {path.name}: {problem}")

    def close(self) -> None:
        """Write the rest and mark the run as finished."""
        self.flush()
        self.client.set_terminated(self.run_id)
