"""The command `fit`: makes a specialist from a folder of annotated images, measures it and writes its folder."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from ptsam_auto import registry
from ptsam_auto.commands.options import FitOptions
from ptsam_auto.data.dataset import Dataset, Pair, Sample, fingerprint, with_classes
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.leaks import KnownImage, shared
from ptsam_auto.data.split import assigned, cross_folds, runs_of_neighbours, sample_of
from ptsam_auto.data.understanding import Understanding
from ptsam_auto.device import choose_device
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.experiment.cross_fit import CrossFit, mixed_probability
from ptsam_auto.experiment.fold_runner import FoldRunner, InOtherProcesses
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.experiment.work_folder import locked_folder, remove_locked_folder
from ptsam_auto.files import write_json
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.methods.sam_methods import check_classes
from ptsam_auto.metrics.classes import decided, masks_of, number_of
from ptsam_auto.objects.separation import settings_for
from ptsam_auto.portfolio import members as portfolio
from ptsam_auto.portfolio.candidates import candidates_for
from ptsam_auto.portfolio.choice import Choice, Chooser
from ptsam_auto.portfolio.local_runner import local_runner
from ptsam_auto.portfolio.task import Candidate, Task
from ptsam_auto.registry import Choices
from ptsam_auto.specialist import artifact
from ptsam_auto.specialist.calibration import Calibration, calibrated, confidence
from ptsam_auto.specialist.layout import FOLDS_FILE, RECORD_FILE, REPORT_FILE, WEIGHTS_FILE
from ptsam_auto.specialist.learned import learned_size
from ptsam_auto.specialist.record import (
    FORMAT,
    BackboneRecord,
    ChoiceRecord,
    CostRecord,
    DataRecord,
    MemberRecord,
    ScoresRecord,
    SpecialistRecord,
    TriedRecord,
)
from ptsam_auto.specialist.report import Panel, Pictures, write_report
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.store import described, how_to_browse, is_wanted
from ptsam_auto.training.trainer import Curve, SamTrainer, Trained, Trainer
from ptsam_auto.training.worker_group import WorkerGroup

if TYPE_CHECKING:
    from ptsam_auto.tracking.live_fit import LiveFit

IN_PROGRESS = "in_progress"  # Subfolder of the output folder with the bank and the checkpoints; deleted at the end.
MARKER_FILE = "fit.json"  # File that marks that subfolder as created by `fit`.
MAX_PANELS = 24  # Largest number of images in the report.
MAX_LOGGED = 8  # Largest number of images on the page of the run in MLflow; the report is there as well.
MAX_CROSS_FITTED = 64  # Largest number of images that are cross-fitted; more of them hardly change the choice.
FILES = (WEIGHTS_FILE, FOLDS_FILE, REPORT_FILE, RECORD_FILE)


def fit(options: FitOptions, terminal: Terminal) -> artifact.Specialist:
    """Choose a configuration by cross-fitting, train a specialist with it on all images, measure it and save it.

    If it was interrupted, the next call continues. On the same machine the result is the same as without the
    interruption, as long as the budget of time is not what decides; on another machine the order of sums may differ.

    Raises:
        PtsamError: See `ptsam_auto.errors`. Most errors are raised before any training.
    """
    if options.quiet:
        terminal = Terminal.results_only()
    out = options.out if options.out is not None else Path(f"{options.dataset.resolve().name}-specialist")
    _check_output_folder(out, options.force)
    work = out / IN_PROGRESS
    with locked_folder(work, MARKER_FILE, "fit", out), ExitStack() as stack:
        pairs, test, understanding, classes = _images(options, terminal)
        device = choose_device(options.device)
        images = [*pairs, *(test.pairs if test else ())]
        candidates = candidates_for(options.method, _choices(options, device), options.member, images, terminal)
        candidates = [replace(candidate, distributed=partial(_distributed, options)) for candidate in candidates]
        _check_workers(candidates, options)
        for candidate in candidates:
            check_classes(str(candidate.plan.config["method"]["name"]), number_of(classes))
        overlap_warning = _overlap_warning(candidates, images)
        if overlap_warning:
            terminal.say(overlap_warning)
        write_json(work / MARKER_FILE, {"command": "fit", "dataset": str(options.dataset)})
        live = stack.enter_context(_followed(out, work, pairs, candidates, options, terminal))
        looked_at = sample_of(pairs, MAX_CROSS_FITTED, options.seed)
        if len(looked_at) < len(pairs):
            terminal.say(
                f"{len(looked_at)} of the {len(pairs)} images are cross-fitted; all are trained on in the end."
            )
        folds = cross_folds(looked_at, options.folds, options.seed)
        if runs_of_neighbours(looked_at, options.folds):
            terminal.say("The images are one sequence, so each fold of the cross-fitting is a run of neighbours.")
        minutes = options.minutes if len(candidates) > 1 else None
        seconds = 60 * minutes if minutes else None
        with _runner(candidates, options, device, len(folds)) as runner:
            task = Task(
                looked_at, pairs, folds, options.seed, work.resolve(), device, seconds, runner, number_of(classes)
            )
            chooser = Chooser(candidates, task, terminal)
            choice = chooser.choose()
        _say_choice(choice, candidates, terminal)
        if 0 < len(choice.images) < len(looked_at):
            terminal.say(
                f"The time sufficed to measure {len(choice.images)} of the {len(looked_at)} images; a larger --minutes "
                "measures all of them. The specialist is trained on all."
            )
        trained = chooser.train(choice)
        model = Mixture([one.model for one in trained], choice.weights)
        cross_fits = chooser.cross_fits(choice)
        scores, panels = _measure(model, chooser, choice, cross_fits, looked_at, test, terminal)
        scores = replace(scores, calibration=_calibration(choice, cross_fits))
        record = SpecialistRecord(
            format=FORMAT,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            members=_members(choice, candidates, trained),
            choice=_choice_record(choice, options.minutes) if len(candidates) > 1 else None,
            seed=options.seed,
            data=_data(options.dataset, pairs, task, cross_fits[0].folds if cross_fits else (), test, understanding),
            scores=scores,
            warnings=(*_warnings(scores), *([overlap_warning] if overlap_warning else [])),
            cost=_cost(model, chooser.seconds, device, options.workers),
            versions={package: version(package) for package in _packages(candidates)},
            objects=settings_for(mask for pair in looked_at for mask in masks_of(pair.load().mask, number_of(classes))),
            classes=classes,
        )
        specialist = artifact.Specialist(model, record, folder=out)
        learned = _learned_of_folds(cross_fits)
        descriptors = _descriptors(specialist, task) if learned else None
        _finish(out, work, specialist, learned, descriptors, _curves(record, trained), panels, live, terminal)
    if options.json:
        terminal.result(json.dumps(_summary(out, specialist.record), indent=2))
    return specialist


def _summary(out: Path, record: SpecialistRecord) -> dict[str, Any]:
    """Return what a script needs to know, JSON types; Dice is 0 to 1, and null where it was not measured."""
    scores = record.scores
    untuned = scores.untuned_test if scores.test else scores.untuned
    return {
        "specialist": str(out),
        "report": str(out / REPORT_FILE),
        "members": [{"name": member.name, "weight": member.weight} for member in record.members],
        "expected_dice": scores.expected.dice if scores.expected else None,
        "expected_dice_interval": [scores.expected.low, scores.expected.high] if scores.expected else None,
        "crossfit_dice": scores.crossfit.dice if scores.crossfit else None,
        "test_dice": scores.test.dice if scores.test else None,
        "dice_of_classes": dict(zip(record.classes, scores.main.of_classes, strict=True)),
        "untuned_dice": untuned.dice if untuned else None,
        "learned_numbers": record.cost.trainable,
        "seconds": record.cost.seconds,
        "warnings": list(record.warnings),
    }


def _choices(options: FitOptions, device: str) -> Choices:
    return Choices(
        backbone=options.backbone,
        adapt=options.adapt,
        settings=options.settings,
        batch_size=options.batch_size,
        workers=options.workers,
        device=device,
    )


def _check_output_folder(out: Path, force: bool) -> None:
    """Raise OutputError early if the output folder may not be written."""
    if (out / RECORD_FILE).exists():
        if not force:
            raise OutputError(
                f"{out} already contains a finished specialist.\nChoose another --out, or overwrite it with --force."
            )
    elif out.is_dir() and not (out / IN_PROGRESS).exists() and any(out.iterdir()):
        raise OutputError(
            f"{out} is not empty and does not contain a specialist.\nChoose another --out, or empty the folder first."
        )


def _images(
    options: FitOptions, terminal: Terminal
) -> tuple[tuple[Pair, ...], Dataset | None, Understanding, tuple[str, ...]]:
    """Return the training pairs, the test images or None, how the folder was read, and the names of several classes."""
    folder = options.dataset
    with terminal.bar("Reading") as update:
        dataset = read_folder(folder, options.reading(), progress=update)
    for line in dataset.understanding.lines():
        terminal.say(line)
    pairs, own_test = assigned(dataset.pairs)
    classes = dataset.classes if len(dataset.classes) > 1 else ()
    test = Dataset(folder, dataset.layout, own_test) if own_test else None
    if options.test is not None:
        pairs = (*pairs, *own_test)
        test = _test_images(options.test, options, dataset, terminal)
    if test is None and (len(pairs) < 2 or options.folds < 2):
        found = f"{len(pairs)} image{'' if len(pairs) == 1 else 's'}"
        what = f"{found}; expected at least 2, because each image is predicted by a model that was trained without it"
        if len(pairs) >= 2:
            what = f"--folds is {options.folds}, so there is no cross-fitting, and there are no test images"
        raise DatasetError(folder, [Problem("", what)], "Add images, or give a folder of test images: --test DIR")
    test_images = f"; {len(test.pairs)} test images of {test.folder}" if test else ""
    terminal.say(f"Images: {len(pairs)} annotated images ({dataset.layout} layout){test_images}.")
    if classes:
        terminal.say(f"Classes: {', '.join(classes)}. They exclude each other, and an image is encoded once for all.")
    return tuple(pairs), test, dataset.understanding, classes


def _test_images(folder: Path, options: FitOptions, dataset: Dataset, terminal: Terminal) -> Dataset:
    """Read the test images, and check that none of them is a training image."""
    with terminal.bar("Reading") as update:
        reading = replace(options.reading(), allow_blank=True, classes=len(dataset.classes) > 1)
        test = read_folder(folder, reading, progress=update)
    known = [
        Problem(pair.name, f"also {other.name} in {options.dataset}/")
        for pair, other in shared(test.pairs, dataset.pairs)
    ]
    if known:
        raise DatasetError(folder, known, "Use test images that are not training images, then run the command again.")
    return with_classes(test, dataset.classes) if len(dataset.classes) > 1 else test


def _overlap_warning(candidates: Sequence[Candidate], images: Sequence[Pair]) -> str | None:
    """Return a warning if the defaults, or the portfolio, were selected on images of this fit, otherwise None."""
    names = {member.name for member in portfolio.frozen().members}
    of_portfolio = any(candidate.name in names for candidate in candidates)
    counts = portfolio.searched_on(pair.digest for pair in images) if of_portfolio else {}
    for candidate in candidates:
        for name, count in candidate.plan.search_overlap.items():
            counts[name] = max(count, counts.get(name, 0))
    if not counts:
        return None
    datasets = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return (
        f"The defaults were selected on {sum(counts.values())} of these images ({datasets}). Do not report this score."
    )


def _check_workers(candidates: Sequence[Candidate], options: FitOptions) -> None:
    """Raise ConfigError if the user's own configuration has a batch that the workers cannot divide."""
    trainer = candidates[0].plan.trainer
    if len(candidates) == 1 and options.workers > 1 and isinstance(trainer, SamTrainer):
        WorkerGroup(0, options.workers).check(trainer.settings.recipe.batch_size)


def _distributed(options: FitOptions, trainer: SamTrainer) -> Trainer:
    """Return the trainer with as many of the requested workers as can divide its batch.

    The members of the portfolio have different batches; all workers take part in their cross-fitting.
    """
    batch = trainer.settings.recipe.batch_size
    workers = max(number for number in range(1, options.workers + 1) if batch % number == 0)
    if workers == 1:
        return trainer
    from ptsam_auto.distributed.workers_trainer import WorkersTrainer

    return WorkersTrainer(trainer, workers, options.storage, options.address)


@contextmanager
def _runner(candidates: Sequence[Candidate], options: FitOptions, device: str, folds: int) -> Iterator[FoldRunner]:
    """Yield how the folds are run: by the workers of Ray, or on this machine."""
    if options.workers == 1:
        with local_runner(candidates, device, folds) as runner:
            yield runner
        return
    from ptsam_auto.distributed.cluster import threads_each
    from ptsam_auto.distributed.tasks import Tasks

    threads = threads_each(options.workers, options.address)
    tasks = Tasks(options.workers, threads, device.startswith("cuda"), options.address)
    yield InOtherProcesses(tasks.each, options.workers, threads)


def _say_choice(choice: Choice, candidates: Sequence[Candidate], terminal: Terminal) -> None:
    """Say what was chosen and why."""
    if len(candidates) == 1:
        return
    most = max((len(tried.scores.images) for tried in choice.tried), default=0)
    for tried in sorted(choice.tried, key=lambda each: -each.scores.dice):
        steps = "" if tried.share == 1 else f", with {100 * tried.share:.0f} % of its steps"
        images = f", on {len(tried.scores.images)} of the images" if len(tried.scores.images) < most else ""
        later = f"; {100 * tried.compared:.1f} expected with those that the time allows" if tried.compared else ""
        terminal.say(f"  {tried.name}: Dice {100 * tried.scores.dice:.1f} by cross-fitting{steps}{images}{later}")
    for name, needed in choice.skipped:
        terminal.say(f"  {name}: not tried, it takes {needed}; a larger --minutes tries it")
    parts = [f"{candidates[i].name} ({100 * w:.0f} %)" for i, w in zip(choice.candidates, choice.weights, strict=True)]
    if len(parts) == 1:
        terminal.say(f"Chosen: {candidates[choice.candidates[0]].name}.")
    else:
        terminal.say(f"Chosen: a mixture of {', '.join(parts)}, clearly better than the best single one.")


def _measure(
    model: Mixture,
    chooser: Chooser,
    choice: Choice,
    cross_fits: Sequence[CrossFit],
    pairs: Sequence[Pair],
    test: Dataset | None,
    terminal: Terminal,
) -> tuple[ScoresRecord, list[Panel]]:
    """Return the scores of the specialist and of the untuned network, and pictures for the report."""
    reference = chooser.untuned(choice)
    tested = untuned_test = None
    pictures: dict[str, Pictures] = {}

    def collect_picture(sample: Sample, mask: np.ndarray) -> None:
        if len(pictures) < MAX_PANELS:
            pictures[sample.name] = Pictures.of(sample, mask)

    if test is not None:
        with terminal.bar("Evaluating") as update:
            total = 2 * len(test.pairs)
            tested = evaluate(
                model.predict,
                test.pairs,
                progress=lambda done: update(done, total),
                on_prediction=collect_picture,
                classes=chooser.classes,
            )
            if reference:
                untuned_test = evaluate(
                    reference[0].predict, test.pairs, progress=lambda done: update(len(test.pairs) + done, total)
                )
    else:
        for number in choice.images[:MAX_PANELS]:
            collect_picture(pairs[number].load(), decided(mixed_probability(cross_fits, choice.weights, number)))
    untuned = reference[1] if reference else None
    scores = ScoresRecord(choice.scores, choice.expected, untuned, tested, untuned_test)
    reference_scores = untuned_test if test else untuned
    dice = {image.name: image.dice for image in scores.main.images}
    untuned_dice = {image.name: image.dice for image in reference_scores.images} if reference_scores else {}
    return scores, [Panel(name, dice[name], untuned_dice.get(name), own) for name, own in pictures.items()]


def _warnings(scores: ScoresRecord) -> list[str]:
    warnings = [scores.main.warning] if scores.main.warning else []
    untuned = scores.untuned_test if scores.test else scores.untuned
    if untuned and scores.main.dice <= untuned.dice:
        warnings.append("Tuning did not help: the untuned SAM is at least as good on images that were not used.")
    return warnings


def _members(choice: Choice, candidates: Sequence[Candidate], trained: Sequence[Trained]) -> tuple[MemberRecord, ...]:
    members = []
    for index, weight, result in zip(choice.candidates, choice.weights, trained, strict=True):
        candidate = candidates[index]
        plan = candidate.plan
        members.append(
            MemberRecord(
                name=candidate.name,
                weight=weight,
                backbone=BackboneRecord.of(candidate.backbone) if candidate.backbone else None,
                adapt=plan.adapt,
                method=plan.config["method"],
                recipe=plan.config.get("recipe"),
                augmentation=plan.config.get("augmentation"),
                design=dict(result.design) if result.design is not None else None,
                scale=result.scale,
                settings=dict(plan.sources),
                searched={key: value for key, value in plan.searched.items() if key != "data"}
                if plan.searched
                else None,
                steps=result.steps,
                views=result.views,
                steps_before=result.steps_before,
            )
        )
    return tuple(members)


def _choice_record(choice: Choice, minutes: float) -> ChoiceRecord:
    tried = (
        TriedRecord(
            name=one.name,
            share=one.share,
            dice=one.scores.dice,
            dice_of_images=tuple(image.dice for image in one.scores.measured),
            seconds=one.seconds,
            compared=one.compared,
        )
        for one in choice.tried
    )
    return ChoiceRecord(minutes, tuple(tried), choice.skipped, choice.gain or 0.0, choice.standard_error or 0.0)


def _data(
    folder: Path,
    pairs: Sequence[Pair],
    task: Task,
    folds: Sequence[Sequence[int]],
    test: Dataset | None,
    understanding: Understanding,
) -> DataRecord:
    return DataRecord(
        folder=folder.name,
        fingerprint=fingerprint(pairs),
        train=tuple(pair.name for pair in pairs),
        train_images=tuple(KnownImage.of(pair) for pair in pairs),
        folds=tuple(tuple(task.pairs[index].name for index in fold) for fold in folds),
        test_folder=test.folder.name if test else None,
        test=tuple(pair.name for pair in test.pairs) if test else (),
        reading=understanding.reading,
        understood=tuple(understanding.rows()),
    )


def _cost(model: Mixture, seconds: float, device: str, workers: int) -> CostRecord:
    size = learned_size(model)
    return CostRecord(trainable=size.trainable, bytes=size.bytes, seconds=seconds, device=device, workers=workers)


def _packages(candidates: Sequence[Candidate]) -> dict[str, None]:
    """Return the packages whose versions are saved."""
    own = [registry.method(str(candidate.plan.config["method"]["name"])).package for candidate in candidates]
    return dict.fromkeys(["ptsam-auto", "torch", *own])


def _curves(record: SpecialistRecord, trained: Sequence[Trained]) -> dict[str, Curve]:
    """Return the learning curve of each member."""
    return {member.name: result.curve for member, result in zip(record.members, trained, strict=True)}


def _learned_of_folds(cross_fits: Sequence[CrossFit]) -> list[Mapping[str, Tensor]]:
    """Return the learned parameters of each fold, by name as in `Mixture.trainable`."""
    if not cross_fits:
        return []
    return [
        {
            f"{member}.{name}": tensor
            for member, cross_fit in enumerate(cross_fits)
            for name, tensor in load_file(cross_fit.learned(fold)).items()
        }
        for fold in range(len(cross_fits[0].folds))
    ]


def _calibration(choice: Choice, cross_fits: Sequence[CrossFit]) -> Calibration | None:
    """Return the expected Dice by the confidence of a prediction, from models that did not see the image."""
    if not cross_fits or choice.scores is None:
        return None
    measured = [
        (number, image.dice)
        for number, image in zip(choice.images, choice.scores.images, strict=True)
        if not image.blank
    ]
    maps = (mixed_probability(cross_fits, choice.weights, number) for number, _ in measured)
    return calibrated([confidence(one) for one in maps], [dice for _, dice in measured])


def _descriptors(specialist: artifact.Specialist, task: Task) -> np.ndarray | None:
    """Return the descriptor of each training image, as the first member encodes it; None if it has no SAM."""
    first, backbone = specialist.model.models[0], specialist.record.members[0].backbone
    if not isinstance(first, PromptFreeSam) or backbone is None:
        return None
    return HeldOut(task.bank, backbone.sha256, task.train).descriptors(first)


def _finish(
    out: Path,
    work: Path,
    specialist: artifact.Specialist,
    learned: Sequence[Mapping[str, Tensor]],
    descriptors: np.ndarray | None,
    curves: Mapping[str, Curve],
    panels: Sequence[Panel],
    live: "LiveFit | None",
    terminal: Terminal,
) -> None:
    """Write all files to a temporary folder, log them, then move them to the output folder.

    So the output folder never contains an incomplete specialist that looks finished.
    """
    ready = work / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    record = specialist.record
    artifact.save(ready, specialist, learned, descriptors)
    write_report(ready / REPORT_FILE, out.name, record, curves, panels)
    logged = _log(out, ready, specialist.record, curves, panels, live, terminal) if live else None
    for name in reversed(FILES):
        with suppress(FileNotFoundError):
            (out / name).unlink()
    for name in FILES:
        if (ready / name).exists():
            (ready / name).replace(out / name)
    remove_locked_folder(work, MARKER_FILE)
    for warning in record.warnings:
        terminal.say(f"WARNING: {warning}")
    _say_scores(record, terminal)
    terminal.say(f"Specialist: {out}/ ({record.cost.trainable:,} learned numbers). Report: {out / REPORT_FILE}")
    if logged:
        terminal.say(f"The run was logged to MLflow. View it with: {logged}")


def _say_scores(record: SpecialistRecord, terminal: Terminal) -> None:
    """Say the expected Dice on new images, and the Dice on the test images."""
    scores = record.scores
    if scores.expected and scores.crossfit:
        expected, untuned = scores.expected, scores.untuned
        terminal.say(
            f"Expected Dice on new images: {100 * expected.dice:.1f} (95 % interval of the mean "
            f"{100 * expected.low:.1f} to {100 * expected.high:.1f}), from cross-fitting on "
            f"{len(scores.crossfit.measured)} images"
            + (f" (untuned SAM: {100 * untuned.dice:.1f})." if untuned else ".")
        )
        if (share := record.cross_fitted_share) < 0.95:
            added = f"{100 * expected.more_steps:.1f} points are added for the others"
            better = added if expected.more_steps else "the specialist is probably better"
            terminal.say(
                f"The cross-fitting had {100 * share:.0f} % of the specialist's steps; {better}. A larger --minutes "
                "measures it with more."
            )
    if record.classes:
        named = zip(record.classes, scores.main.of_classes, strict=True)
        by_class = [f"{name} {100 * dice:.1f}" if dice is not None else f"{name} -" for name, dice in named]
        terminal.say(f"Dice of each class{' on the test images' if scores.test else ''}: {', '.join(by_class)}.")
    if scores.test:
        terminal.say(
            f"Dice {100 * scores.test.dice:.1f} +- {100 * scores.test.dice_std:.1f} on {len(scores.test.images)} test "
            "images" + (f" (untuned SAM: {100 * scores.untuned_test.dice:.1f})." if scores.untuned_test else ".")
        )


@contextmanager
def _followed(
    out: Path,
    work: Path,
    pairs: Sequence[Pair],
    candidates: Sequence[Candidate],
    options: FitOptions,
    terminal: Terminal,
) -> Iterator["LiveFit | None"]:
    """Show the fit in MLflow while the `with` block runs, if that is wanted; an error ends the run as failed."""
    if not is_wanted(options.track):
        yield None
        return
    from ptsam_auto.tracking.live_fit import LiveFit

    names = [candidate.name for candidate in candidates]
    live = LiveFit(out.resolve().name, work, names, options.dataset.name, fingerprint(pairs))
    live.start()
    if live.problem:
        terminal.say(f"MLflow cannot be reached ({live.problem}). The run is logged at the end, if it can be then.")
    try:
        yield live
    except BaseException as error:
        live.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise


def _log(
    out: Path,
    ready: Path,
    record: SpecialistRecord,
    curves: Mapping[str, Curve],
    panels: Sequence[Panel],
    live: "LiveFit",
    terminal: Terminal,
) -> str | None:
    """Log the run to MLflow. Return how to view it, or None if the logging failed."""
    from ptsam_auto.tracking.log_fit import log_fit

    terminal.say("Logging the run to MLflow ...")
    try:
        worst = sorted(panels, key=lambda panel: panel.dice)[:MAX_LOGGED]
        pictures = {panel.name: panel.side_by_side for panel in worst}
        uri = log_fit(out.resolve().name, ready, record, curves, pictures, live.finish())
    except Exception as error:  # MLflow and its stores have no common error type.
        terminal.say(f"Logging to MLflow failed ({described(error)}). The specialist is not affected.")
        return None
    return how_to_browse(uri)
