"""Logs a finished fit to MLflow: parameters, curves, scores, report, and the specialist as a registered model."""

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.specialist.record import SpecialistRecord
from ptsam_auto.tracking.store import METRICS_PER_CALL, allowed_name, load_mlflow

EXPERIMENT = "ptsam-auto"


def log_fit(
    name: str,
    folder: Path,
    record: SpecialistRecord,
    curve: Mapping[str, Sequence[float]],
    overlays: dict[str, np.ndarray],
) -> str:
    """Log a specialist. It is called once after the training, so a slow server does not slow down the training.

    Args:
        name: Name of the run. The registered model is called NAME-specialist.
        folder: Folder of the finished specialist.
        record: Contents of specialist.json.
        curve: Learning curve: the column "step", and one column per quantity.
        overlays: Pictures by name, H W 3 uint8.

    Returns:
        Address of the tracking server or file.

    Raises:
        Exception: An error of MLflow or its store; they have no common type.
    """
    mlflow = load_mlflow()
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=name) as run:
        run_id, time_ms = run.info.run_id, run.info.start_time
        parameters = {
            "backbone": record.backbone.name if record.backbone else "none",
            "adapt": record.adapt,
            "seed": record.seed,
            **{
                f"{part}.{key}": value
                for part in ("method", "recipe", "augmentation")
                for key, value in (getattr(record, part) or {}).items()
            },
        }
        tags = {
            "ptsam.dataset_fingerprint": record.data.fingerprint,
            **({"ptsam.backbone_sha256": record.backbone.sha256} if record.backbone else {}),
            **{f"ptsam.version.{package}": version for package, version in record.versions.items()},
        }
        scores = {
            f"{network}_{measure}": getattr(network_scores, measure)
            for network, network_scores in (("tuned", record.scores.tuned), ("untuned", record.scores.untuned))
            if network_scores
            for measure in ("dice", "dice_std", "iou")
        }
        metrics = [Metric(key, value, time_ms, 0) for key, value in scores.items()]
        for key, column in curve.items():
            if key != "step":
                steps = zip(column, curve["step"], strict=True)
                metrics += [Metric(key, value, time_ms, int(step)) for value, step in steps]
        client.log_batch(
            run_id, params=[Param(*pair) for pair in _text(parameters)], tags=[RunTag(*pair) for pair in _text(tags)]
        )
        for start in range(0, len(metrics), METRICS_PER_CALL):
            client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])
        for title, picture in overlays.items():
            mlflow.log_image(picture, f"overlays/{allowed_name(title)}.png")
        mlflow.log_table(_columns([asdict(image) for image in record.scores.tuned.images]), "scores.json")
        mlflow.log_artifact(str(folder / "report.html"))
        _register(mlflow, f"{allowed_name(name)}-specialist", folder, record)
    return mlflow.get_tracking_uri()


def _register(mlflow: Any, name: str, folder: Path, record: SpecialistRecord) -> None:  # noqa: ANN401 - a module
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    masks = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))])
    # MLflow prints progress messages regardless of the logging level.
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        mlflow.pyfunc.log_model(
            name="specialist",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"specialist": str(folder)},
            signature=ModelSignature(images, masks),
            pip_requirements=[f"ptsam-auto=={record.versions['ptsam-auto']}"],
            registered_model_name=name,
        )


def _text(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in values.items()]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}
