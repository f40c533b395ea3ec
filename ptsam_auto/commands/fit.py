"""The command `fit`: trains a specialist on a folder of annotated images, evaluates it and writes its folder."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

from ptsam_auto import registry
from ptsam_auto.commands.options import FitOptions
from ptsam_auto.data.dataset import Dataset, Pair, Sample, fingerprint
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.leaks import KnownImage, shared
from ptsam_auto.data.split import hold_out
from ptsam_auto.data.understanding import Understanding
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.work_folder import locked_folder
from ptsam_auto.files import write_json
from ptsam_auto.registry import Choices, Plan
from ptsam_auto.specialist import artifact
from ptsam_auto.specialist.learned import learned_size
from ptsam_auto.specialist.record import (
    FORMAT,
    BackboneRecord,
    CostRecord,
    DataRecord,
    ScoresRecord,
    SpecialistRecord,
)
from ptsam_auto.specialist.report import Panel, side_by_side, write_report
from ptsam_auto.specialist.scores import Scores, evaluate
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.store import how_to_browse, is_wanted
from ptsam_auto.training.trainer import Curve, SamTrainer, Trained, Trainer
from ptsam_auto.training.worker_group import WorkerGroup

IN_PROGRESS = "in_progress"  # Subfolder of the output folder with the bank and the checkpoint; deleted at the end.
MARKER_FILE = "fit.json"  # File that marks that subfolder as created by `fit`.
MAX_PANELS = 24  # Largest number of held-out images in the report.


def fit(options: FitOptions, terminal: Terminal) -> artifact.Specialist:
    """Train a specialist with the default settings, evaluate it on held-out images and save it.

    If it was interrupted, the next call continues. On the same machine the result is the same as without the
    interruption; on another machine the order of sums may differ.

    Raises:
        PtsamError: See `ptsam_auto.errors`. Most errors are raised before any training.
    """
    out = options.out if options.out is not None else Path(f"{options.dataset.resolve().name}-specialist")
    _check_output_folder(out, options.force)
    work = out / IN_PROGRESS
    with locked_folder(work, MARKER_FILE, "fit", out):
        train, held_out, understanding = _images(options, terminal)
        device = options.device or artifact.default_device()
        method = registry.method(options.method)
        backbone = choose_backbone(options.backbone, terminal) if method.needs_backbone else None
        choices = Choices(
            backbone=options.backbone,
            adapt=options.adapt,
            settings=options.settings,
            batch_size=options.batch_size,
            workers=options.workers,
            device=device,
        )
        plan = method.plan(choices, backbone, [*train, *held_out.pairs])
        overlap_warning = _overlap_warning(plan)
        if overlap_warning:
            terminal.say(overlap_warning)
        trainer = _with_workers(plan.trainer, options)
        write_json(work / MARKER_FILE, {"command": "fit", "dataset": str(options.dataset)})
        began = perf_counter()
        trained = trainer.train(train, options.seed, work, device, terminal)
        seconds = perf_counter() - began
        tuned, untuned, panels = _evaluate(trained, plan, held_out.pairs, device, terminal)
        record = SpecialistRecord(
            format=FORMAT,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            backbone=BackboneRecord.of(backbone) if backbone else None,
            adapt=plan.adapt,
            method=plan.config["method"],
            recipe=plan.config.get("recipe"),
            augmentation=plan.config.get("augmentation"),
            design=dict(trained.design) if trained.design is not None else None,
            scale=trained.scale,
            settings=dict(plan.sources),
            searched={key: value for key, value in plan.searched.items() if key != "data"} if plan.searched else None,
            seed=options.seed,
            data=_data(options.dataset, train, held_out, understanding),
            scores=ScoresRecord(tuned, untuned),
            warnings=(*_warnings(tuned, untuned), *([overlap_warning] if overlap_warning else [])),
            cost=_cost(trained, seconds, device, options.workers),
            versions={package: version(package) for package in ("ptsam-auto", "torch", method.package)},
        )
        specialist = artifact.Specialist(trained.model, record)
        _finish(out, work, specialist, trained.curve, panels, options, terminal)
    return specialist


def _check_output_folder(out: Path, force: bool) -> None:
    """Raise OutputError early if the output folder may not be written."""
    if (out / artifact.RECORD_FILE).exists():
        if not force:
            raise OutputError(
                f"{out} already contains a finished specialist.\nChoose another --out, or overwrite it with --force."
            )
    elif out.is_dir() and not (out / IN_PROGRESS).exists() and any(out.iterdir()):
        raise OutputError(
            f"{out} is not empty and does not contain a specialist.\nChoose another --out, or empty the folder first."
        )


def _images(options: FitOptions, terminal: Terminal) -> tuple[Sequence[Pair], Dataset, Understanding]:
    """Return the training pairs, the dataset of test images, and how the folder was read."""
    folder, test = options.dataset, options.test
    with terminal.bar("Reading") as update:
        dataset = read_folder(folder, options.reading(), progress=update)
    for line in dataset.understanding.lines():
        terminal.say(line)
    if test is None:
        train, held_out_pairs = hold_out(dataset.pairs, seed=options.seed)
        if not held_out_pairs:
            problem = Problem("", "1 image; expected at least 2, because one is held out as a test image")
            raise DatasetError(folder, [problem], "Add images, or give a folder of test images: --test DIR")
        held_out = Dataset(folder, dataset.layout, held_out_pairs)
        test_images = f"{len(held_out_pairs)} held-out test images"
    else:
        with terminal.bar("Reading") as update:
            held_out = read_folder(test, replace(options.reading(), allow_blank=True), progress=update)
        known = [
            Problem(pair.name, f"also {other.name} in {folder}/")
            for pair, other in shared(held_out.pairs, dataset.pairs)
        ]
        if known:
            raise DatasetError(test, known, "Use test images that are not training images, then run the command again.")
        # The order depends on the content of the images, as in hold_out, so renaming files changes nothing.
        train = tuple(sorted(dataset.pairs, key=lambda pair: pair.digest))
        test_images = f"{len(held_out.pairs)} test images of {test}"
    terminal.say(f"Images: {len(train)} training images, {test_images} ({dataset.layout} layout).")
    return train, held_out, dataset.understanding


def _overlap_warning(plan: Plan) -> str | None:
    """Return a warning if the defaults were selected on images that are also used in this fit, otherwise None."""
    if not plan.search_overlap:
        return None
    datasets = ", ".join(f"{count} of {name}" for name, count in plan.search_overlap.items())
    count = sum(plan.search_overlap.values())
    return f"The defaults were selected on {count} of these images ({datasets}). Do not report this score."


def _with_workers(trainer: Trainer, options: FitOptions) -> Trainer:
    """Return a trainer with several workers if more than one is requested.

    Only SAM methods support several workers; `registry` has rejected the option for the other methods before.
    """
    if options.workers == 1 or not isinstance(trainer, SamTrainer):
        return trainer
    WorkerGroup(0, options.workers).check(trainer.settings.recipe.batch_size)
    from ptsam_auto.distributed.workers_trainer import WorkersTrainer

    return WorkersTrainer(trainer, options.workers, options.storage, options.address)


def _evaluate(
    trained: Trained, plan: Plan, pairs: Sequence[Pair], device: str, terminal: Terminal
) -> tuple[Scores, Scores | None, list[Panel]]:
    """Return the scores of the specialist, the scores of the untuned network, and pictures for the report."""
    pictures: dict[str, np.ndarray] = {}

    def collect_picture(sample: Sample, mask: np.ndarray) -> None:
        if len(pictures) < MAX_PANELS:
            pictures[sample.name] = side_by_side(sample.image, mask, sample.mask)

    with terminal.bar("Evaluating") as update:
        total = (2 if plan.untuned else 1) * len(pairs)
        tuned = evaluate(
            trained.model.predict, pairs, progress=lambda done: update(done, total), on_prediction=collect_picture
        )
        untuned = None
        if plan.untuned and trained.scale:
            untuned_model = plan.untuned.model(trained.scale, device)
            untuned = evaluate(untuned_model.predict, pairs, progress=lambda done: update(len(pairs) + done, total))
    dice = {image.name: image.dice for image in tuned.images}
    untuned_dice = {image.name: image.dice for image in untuned.images} if untuned else {}
    panels = [Panel(name, dice[name], untuned_dice.get(name), picture) for name, picture in pictures.items()]
    return tuned, untuned, panels


def _warnings(tuned: Scores, untuned: Scores | None) -> list[str]:
    warnings = [tuned.warning] if tuned.warning else []
    if untuned and tuned.dice <= untuned.dice:
        warnings.append("Tuning did not help: the untuned SAM is at least as good on the held-out images.")
    return warnings


def _data(folder: Path, train: Sequence[Pair], held_out: Dataset, understanding: Understanding) -> DataRecord:
    return DataRecord(
        folder=folder.name,
        fingerprint=fingerprint(train),
        train=tuple(pair.name for pair in train),
        train_images=tuple(KnownImage.of(pair) for pair in train),
        held_out_folder=held_out.folder.name,
        held_out=tuple(pair.name for pair in held_out.pairs),
        reading=understanding.reading,
        understood=tuple(understanding.rows()),
    )


def _cost(trained: Trained, seconds: float, device: str, workers: int) -> CostRecord:
    size = learned_size(trained.model)
    return CostRecord(
        trainable=size.trainable,
        bytes=size.bytes,
        steps=trained.steps,
        views=trained.views,
        seconds=seconds,
        device=device,
        workers=workers,
    )


def _finish(
    out: Path,
    work: Path,
    specialist: artifact.Specialist,
    curve: Curve,
    panels: Sequence[Panel],
    options: FitOptions,
    terminal: Terminal,
) -> None:
    """Write all files to a temporary folder, log them, then move them to the output folder.

    So the output folder never contains an incomplete specialist that looks finished.
    """
    ready = work / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    record = specialist.record
    artifact.save(ready, specialist)
    write_report(ready / "report.html", out.name, record, curve, panels)
    logged = _log(ready, specialist, curve, panels, terminal) if is_wanted(options.track) else None
    with suppress(FileNotFoundError):
        (out / artifact.RECORD_FILE).unlink()
    for name in (artifact.WEIGHTS_FILE, "report.html", artifact.RECORD_FILE):
        (ready / name).replace(out / name)
    shutil.rmtree(work)
    for warning in record.warnings:
        terminal.say(f"WARNING: {warning}")
    tuned, untuned = record.scores.tuned, record.scores.untuned
    terminal.say(
        f"Dice {100 * tuned.dice:.1f} +- {100 * tuned.dice_std:.1f} on {len(tuned.images)} held-out images"
        + (f" (untuned SAM: {100 * untuned.dice:.1f})." if untuned else ".")
    )
    terminal.say(f"Specialist: {out}/ ({record.cost.trainable:,} learned numbers). Report: {out / 'report.html'}")
    if logged:
        terminal.say(f"The run was logged to MLflow. View it with: {logged}")


def _log(
    ready: Path, specialist: artifact.Specialist, curve: Curve, panels: Sequence[Panel], terminal: Terminal
) -> str | None:
    """Log the run to MLflow. Return how to view it, or None if the logging failed."""
    from ptsam_auto.tracking.log_fit import log_fit

    terminal.say("Logging the run to MLflow ...")
    try:
        pictures = {panel.name: panel.picture for panel in panels}
        uri = log_fit(specialist.record.data.folder, ready, specialist.record, curve, pictures)
    except Exception as error:  # MLflow and its stores have no common error type.
        terminal.say(f"Logging to MLflow failed ({type(error).__name__}). The specialist is not affected.")
        return None
    return how_to_browse(uri)
