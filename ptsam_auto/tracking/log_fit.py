"""Logs a finished fit to MLflow: parameters, curves, scores, report, and the specialist as a registered model.

While the fit ran, `live_fit` has opened its runs and shown what there was; they are completed here.
"""

import io
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.render import render_example
from ptsam_auto.specialist.record import MemberRecord, SpecialistRecord
from ptsam_auto.tracking.curves import curve_metrics
from ptsam_auto.tracking.live_fit import EXPERIMENT, LiveRuns
from ptsam_auto.tracking.run_group import NAME, NOTE, PARENT, dataset_input
from ptsam_auto.tracking.store import METRICS_PER_CALL, allowed_name, experiment_id, load_mlflow

CROSS_FITTED = "dice/cross_fitted"
EXAMPLE_SIDE = 64  # side of the image that is logged as an example of an input, px; a rendered one, not the user's


def log_fit(
    name: str,
    folder: Path,
    record: SpecialistRecord,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    overlays: dict[str, np.ndarray],
    live: LiveRuns | None = None,
) -> str:
    """Log a specialist. It is called once after the training, so a slow server does not slow down the training.

    The run begins when the training began. Inside a run of the user, it is a child of that run.

    Args:
        name: Name of the run and of the registered model: that of the specialist's folder.
        folder: Folder of the finished specialist.
        record: Contents of specialist.json.
        curves: Learning curve of each member: the column "step", and one column per quantity. Each member is a child
            run; so is each member of the portfolio that was tried and not chosen.
        overlays: Pictures by name, H W 3 uint8.
        live: The runs that were opened while the fit ran; None if there are none.

    Returns:
        Address of the tracking server or file.

    Raises:
        Exception: An error of MLflow or its store; they have no common type.
    """
    mlflow = load_mlflow()
    client = mlflow.MlflowClient()
    outer = mlflow.active_run()
    experiment = outer.info.experiment_id if outer else experiment_id(client, EXPERIMENT)
    end = int(1000 * time.time())
    start = end - int(1000 * record.cost.seconds)
    tags = {
        NAME: name,
        NOTE: _description(record),
        **({PARENT: outer.info.run_id} if outer else {}),
        **_about(record),
        "ptsam.dataset_fingerprint": record.data.fingerprint,
        **{f"ptsam.version.{package}": version for package, version in record.versions.items()},
    }
    run_id = live.parent if live else client.create_run(experiment, start, tags, name).info.run_id
    with _failed_on_error(client, run_id):
        if live:
            client.log_batch(run_id, tags=_tags(tags))
        else:
            inputs = [dataset_input(record.data.folder, record.data.fingerprint, "training and cross-fitting")]
            client.log_inputs(run_id, inputs)
        parameters = {"members": _names(record), "seed": record.seed, "device": record.cost.device}
        if len(record.members) == 1:
            parameters |= _parameters(record.members[0])
        _log(client, run_id, parameters, _constants(_scores(record) | _cost(record), end))
        _log_members(client, experiment, live or LiveRuns(run_id), start, record, curves)
        for number, (title, picture) in enumerate(overlays.items(), start=1):
            # A key, and not a file, so that the pictures are seen on the page of the run.
            key = f"overlays/{number:02} {re.sub(r'[^a-zA-Z0-9_. -]', '_', title)}"
            client.log_image(run_id, picture, key=key, synchronous=True)
        client.log_table(run_id, _columns([asdict(image) for image in record.scores.main.images]), "scores.json")
        client.log_artifact(run_id, str(folder / "report.html"))
        # Only inside a run can a model be logged.
        with mlflow.start_run(run_id, nested=outer is not None):
            _register(mlflow, allowed_name(name), folder, record)
        client.set_terminated(run_id, "FINISHED", end)
    return mlflow.get_tracking_uri()


@contextmanager
def _failed_on_error(client: Any, run_id: str) -> Iterator[None]:  # noqa: ANN401 - MLflow's
    """End a run as failed if the `with` block ends with an error; MLflow would show it as running for ever."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # Perhaps the server is down; the first error is the one to tell.
            client.set_terminated(run_id, "FAILED")
        raise


def _log_members(
    client: Any,  # noqa: ANN401 - MLflow's
    experiment: str,
    runs: LiveRuns,
    start: int,
    record: SpecialistRecord,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Log a child run for each member that was tried or chosen, unless it is there already.

    Without runs that were opened before, they are shown as tried one after another from `start` on.
    """
    chosen = {member.name: member for member in record.members}
    tried = {member.name: member for member in record.choice.tried} if record.choice else {}
    for name in dict.fromkeys([*tried, *chosen]):
        end = start + int(1000 * tried[name].seconds) if name in tried else start + int(1000 * record.cost.seconds)
        end = runs.ended.get(name, end)
        tags: dict[str, Any] = {NAME: name, PARENT: runs.parent, "ptsam.chosen": name in chosen}
        if name in chosen:
            tags["ptsam.weight"] = chosen[name].weight
            if (backbone := chosen[name].backbone) is not None:
                tags["ptsam.backbone_sha256"] = backbone.sha256
        if child := runs.children.get(name):
            client.log_batch(child, tags=_tags(tags))
        else:
            child = client.create_run(experiment, start, dict(_text(tags)), name).info.run_id
        with _failed_on_error(client, child):
            metrics = curve_metrics(curves.get(name, {}), end, after=runs.steps.get(name, 0))
            if name in tried:
                found = {CROSS_FITTED: tried[name].dice, "cross_fitted_images": len(tried[name].dice_of_images)}
                metrics += _constants({**found, "cost/seconds": tried[name].seconds}, end)
                start = end
            _log(client, child, _parameters(chosen[name]) if name in chosen else {}, metrics)
            client.set_terminated(child, "FINISHED", end)
    for name in set(runs.children) - set(tried) - set(chosen):  # Of an interrupted fit that had other members.
        client.set_terminated(runs.children[name], "KILLED")


def _log(client: Any, run_id: str, parameters: Mapping[str, Any], metrics: Sequence[Any]) -> None:  # noqa: ANN401
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(*pair) for pair in _text(parameters)])
    for first in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_PER_CALL])


def _scores(record: SpecialistRecord) -> dict[str, float]:
    """Return the scores by their names in MLflow."""
    scores: dict[str, float] = {}
    for name, of_images in {
        "cross_fitted": record.scores.crossfit,
        "untuned": record.scores.untuned,
        "test": record.scores.test,
        "untuned_test": record.scores.untuned_test,
    }.items():
        if of_images is not None:
            scores |= {f"dice/{name}": of_images.dice, f"dice_std/{name}": of_images.dice_std}
            scores[f"iou/{name}"] = of_images.iou
    for name, dice in zip(record.classes, record.scores.main.of_classes, strict=True):
        if dice is not None:
            scores[f"dice_of_class/{allowed_name(name)}"] = dice
    if expected := record.scores.expected:
        scores |= {"dice/expected": expected.dice, "dice/expected_low": expected.low}
        scores["dice/expected_high"] = expected.high
    return scores


def _cost(record: SpecialistRecord) -> dict[str, float]:
    cost = record.cost
    return {"cost/seconds": cost.seconds, "cost/learned_numbers": cost.trainable, "cost/bytes": cost.bytes}


def _about(record: SpecialistRecord) -> dict[str, str]:
    """Return what tells one specialist from another, as tags of its run and of its version."""
    backbones = dict.fromkeys(member.backbone.name for member in record.members if member.backbone)
    about = {
        "ptsam.members": _names(record),
        "ptsam.method": ", ".join(dict.fromkeys(str(member.method["name"]) for member in record.members)),
        "ptsam.backbone": ", ".join(backbones) or "none",
    }
    if record.scores.expected:
        about["ptsam.expected_dice"] = f"{record.scores.expected.dice:.4f}"
    if record.warnings:
        about["ptsam.warnings"] = " ".join(record.warnings)
    return about


def _description(record: SpecialistRecord) -> str:
    """Return the description of the run, in Markdown."""
    lines = [f"A specialist from {len(record.data.train)} images of `{record.data.folder}`: {_names(record)}."]
    if expected := record.scores.expected:
        lines.append(
            f"Expected Dice on new images: **{100 * expected.dice:.1f}** "
            f"({100 * expected.low:.1f} to {100 * expected.high:.1f})."
        )
    if test := record.scores.test:
        lines.append(f"Dice on {len(test.images)} test images: **{100 * test.dice:.1f}**.")
    lines += [f"**Warning:** {warning}" for warning in record.warnings]
    return "\n\n".join([*lines, "`report.html` among the artifacts shows all of it."])


def _names(record: SpecialistRecord) -> str:
    return ", ".join(member.name for member in record.members)


def _register(mlflow: Any, name: str, folder: Path, record: SpecialistRecord) -> None:  # noqa: ANN401 - a module
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    answers = [("mask", "uint8"), ("probability", "float32")]
    shapes = {"mask": (-1, -1, -1), "probability": (-1, len(record.classes), -1, -1) if record.classes else (-1,) * 3}
    results = Schema([TensorSpec(np.dtype(kind), shapes[name], name) for name, kind in answers])
    # MLflow prints progress messages regardless of the logging level.
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        logged = mlflow.pyfunc.log_model(
            name="specialist",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"specialist": str(folder.resolve())},  # A relative one with a colon would be a scheme.
            signature=ModelSignature(images, results),
            input_example=render_example(0).image[None, :EXAMPLE_SIDE, :EXAMPLE_SIDE],
            pip_requirements=[f"ptsam-auto=={record.versions['ptsam-auto']}"],
            registered_model_name=name,
        )
    for key, value in _about(record).items():
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


def _constants(values: Mapping[str, float], time_ms: int) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(key, float(value), time_ms, 0) for key, value in values.items()]


def _tags(values: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(*pair) for pair in _text(values)]


def _text(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in values.items()]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}
