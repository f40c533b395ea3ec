"""A finished fit as an MLflow run: parameters, curves, scores, report, and the specialist as a registered model."""

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.tracking.quiet import BATCH, plain, quiet_mlflow

EXPERIMENT = "ptsam-auto"


def log_fit(
    name: str,
    folder: Path,
    about: dict[str, Any],
    curve: Mapping[str, Sequence[float]],
    overlays: dict[str, np.ndarray],
) -> str:
    """Log a specialist and how it came about; called once, after training, so a slow store never slows a step.

    Args:
        name: of the run; the model is registered as this, with "-specialist" behind it.
        folder: the finished specialist.
        about: its specialist.json.
        curve: a column of "step" and of whatever was seen at each.
        overlays: pictures by name, H W 3 uint8.

    Returns:
        The tracking store's address.

    Raises:
        Exception: whatever MLflow and its stores raise; there is no common type.
    """
    mlflow = quiet_mlflow()
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=name) as run:
        run_id, time_ms = run.info.run_id, run.info.start_time
        parameters = {
            "backbone": about["backbone"]["name"] if about["backbone"] else "none",
            "adapt": about["adapt"],
            "seed": about["seed"],
            **{
                f"{part}.{key}": value
                for part in ("method", "recipe", "augmentation")
                for key, value in about.get(part, {}).items()
            },
        }
        tags = {
            "ptsam.dataset_fingerprint": about["data"]["fingerprint"],
            **({"ptsam.backbone_sha256": about["backbone"]["sha256"]} if about["backbone"] else {}),
            **{f"ptsam.version.{package}": version for package, version in about["versions"].items()},
        }
        scores = {
            f"{which}_{measure}": about["scores"][which][measure]
            for which in ("tuned", "untuned")
            if about["scores"][which]
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
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        for title, picture in overlays.items():
            mlflow.log_image(picture, f"overlays/{plain(title)}.png")
        mlflow.log_table(_columns(about["scores"]["tuned"]["images"]), "scores.json")
        mlflow.log_artifact(str(folder / "report.html"))
        _register(mlflow, f"{plain(name)}-specialist", folder, about)
    return mlflow.get_tracking_uri()


def _register(mlflow: Any, name: str, folder: Path, about: dict[str, Any]) -> None:  # noqa: ANN401 - a module
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    masks = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))])
    # MLflow talks about each of its steps, past any logging level.
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        mlflow.pyfunc.log_model(
            name="specialist",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"specialist": str(folder)},
            signature=ModelSignature(images, masks),
            pip_requirements=[f"ptsam-auto=={about['versions']['ptsam-auto']}"],
            registered_model_name=name,
        )


def _text(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in values.items()]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}
