"""Logs a finished fit to MLflow: parameters, curves, scores, report, and the specialist as a registered model."""

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.render import render_example
from ptsam_auto.specialist.record import MemberRecord, SpecialistRecord
from ptsam_auto.tracking.store import METRICS_PER_CALL, allowed_name, load_mlflow

EXPERIMENT = "ptsam-auto"
EXAMPLE_SIDE = 64  # side of the image that is logged as an example of an input, px; a rendered one, not the user's


def log_fit(
    name: str,
    folder: Path,
    record: SpecialistRecord,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    overlays: dict[str, np.ndarray],
) -> str:
    """Log a specialist. It is called once after the training, so a slow server does not slow down the training.

    Args:
        name: Name of the run. The registered model is called NAME-specialist.
        folder: Folder of the finished specialist.
        record: Contents of specialist.json.
        curves: Learning curve of each member: the column "step", and one column per quantity. Each member is a child
            run; so is each member of the portfolio that was tried and not chosen.
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
        parameters = {"members": ", ".join(member.name for member in record.members), "seed": record.seed}
        if len(record.members) == 1:
            parameters |= _parameters(record.members[0])
        tags = {
            "ptsam.dataset_fingerprint": record.data.fingerprint,
            **{f"ptsam.version.{package}": version for package, version in record.versions.items()},
        }
        scores = {
            f"{what}_{measure}": getattr(of_images, measure)
            for what in ("crossfit", "untuned", "test", "untuned_test")
            if (of_images := getattr(record.scores, what))
            for measure in ("dice", "dice_std", "iou")
        }
        if record.scores.expected:
            scores |= {f"expected_{name}": getattr(record.scores.expected, name) for name in ("dice", "low", "high")}

        def log(run_id: str, values: Mapping[str, Any], tags: Mapping[str, Any], metrics: list[Metric]) -> None:
            client.log_batch(
                run_id, params=[Param(*pair) for pair in _text(values)], tags=[RunTag(*pair) for pair in _text(tags)]
            )
            for start in range(0, len(metrics), METRICS_PER_CALL):
                client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])

        log(run_id, parameters, tags, [Metric(key, value, time_ms, 0) for key, value in scores.items()])
        chosen = {member.name: member for member in record.members}
        tried = {member.name: member for member in record.choice.tried} if record.choice else {}
        for child in dict.fromkeys([*tried, *chosen]):
            metrics = _curve_metrics(curves.get(child, {}), time_ms)
            if child in tried:
                metrics.append(Metric("crossfit_dice", tried[child].dice, time_ms, 0))
            about: dict[str, Any] = {"chosen": child in chosen}
            if child in chosen:
                about["weight"] = chosen[child].weight
                if (backbone := chosen[child].backbone) is not None:
                    about["backbone_sha256"] = backbone.sha256
            with mlflow.start_run(run_name=child, nested=True) as child_run:
                values = _parameters(chosen[child]) if child in chosen else {}
                log(child_run.info.run_id, values, {f"ptsam.{key}": value for key, value in about.items()}, metrics)
        for title, picture in overlays.items():
            mlflow.log_image(picture, f"overlays/{allowed_name(title)}.png")
        mlflow.log_table(_columns([asdict(image) for image in record.scores.main.images]), "scores.json")
        mlflow.log_artifact(str(folder / "report.html"))
        _register(mlflow, f"{allowed_name(name)}-specialist", folder, record)
    return mlflow.get_tracking_uri()


def _register(mlflow: Any, name: str, folder: Path, record: SpecialistRecord) -> None:  # noqa: ANN401 - a module
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    answers = [("mask", "uint8"), ("probability", "float32")]
    results = Schema([TensorSpec(np.dtype(kind), (-1, -1, -1), name) for name, kind in answers])
    # MLflow prints progress messages regardless of the logging level.
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        logged = mlflow.pyfunc.log_model(
            name="specialist",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"specialist": str(folder)},
            signature=ModelSignature(images, results),
            input_example=render_example(0).image[None, :EXAMPLE_SIDE, :EXAMPLE_SIDE],
            pip_requirements=[f"ptsam-auto=={record.versions['ptsam-auto']}"],
            registered_model_name=name,
        )
    about = {"ptsam.members": ", ".join(member.name for member in record.members)}
    if record.scores.expected:
        about["ptsam.expected_dice"] = f"{record.scores.expected.dice:.4f}"
    if record.warnings:
        about["ptsam.warnings"] = " ".join(record.warnings)
    for key, value in about.items():
        mlflow.MlflowClient().set_model_version_tag(name, logged.registered_model_version, key, value)


def _parameters(member: MemberRecord) -> dict[str, Any]:
    return {
        "backbone": member.backbone.name if member.backbone else "none",
        "adapt": member.adapt,
        **{
            f"{part}.{key}": value
            for part in ("method", "recipe", "augmentation")
            for key, value in (getattr(member, part) or {}).items()
        },
    }


def _curve_metrics(curve: Mapping[str, Sequence[float]], time_ms: int) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(key, value, time_ms, int(step))
        for key, column in curve.items()
        if key != "step"
        for value, step in zip(column, curve["step"], strict=True)
    ]


def _text(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in values.items()]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}
