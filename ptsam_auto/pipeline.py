"""The story of `fit`, top to bottom: a folder of annotated images becomes a specialist."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.dataset import Dataset, Pair, Sample, fingerprint
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import ConfigError, DatasetError, OutputError, Problem
from ptsam_auto.methods import registry
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam import checkpoint
from ptsam_auto.show import Show
from ptsam_auto.specialist import artifact
from ptsam_auto.specialist.evaluate import Scores, evaluate
from ptsam_auto.specialist.predict import predict
from ptsam_auto.specialist.report import Panel, beside, write_report
from ptsam_auto.training import defaults, loop, resume
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.loop import EpochReport
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import Team

IN_PROGRESS = "in_progress"  # inside the output folder; holds the bank and the checkpoint, and goes when all is done
PANELS = 24  # held-out images shown in the report


def fit(
    folder: Path | str,
    *,
    out: Path | str | None = None,
    test: Path | str | None = None,
    backbone: str = "auto",
    method: str = "ptsam",
    adapt: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    force: bool = False,
    allow_blank: bool = False,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int = 1,
    storage: str | None = None,
    address: str | None = None,
    track: bool = True,
    show: Show | None = None,
) -> artifact.Specialist:
    """Train a specialist with the frozen defaults, measure it on images it never saw, and write it down.

    Interrupted at any moment and called again, it continues, and ends with the same numbers as if undisturbed (on
    the same machine; the order of sums may differ elsewhere).

    Args:
        folder: annotated images, in any layout that data.folder reads.
        out: where the specialist goes; by default NAME-specialist in the working directory.
        test: annotated images to measure on; by default 20 % of the folder's are held out (Sec. 4.1.2).
        backbone: "auto", "vit_b", "vit_l", "vit_h", "nano" or the path of a checkpoint.
        method: "ptsam", or a rival: "cellseg1", "autosam", "samed"; see methods.registry.
        adapt: "decoder" (the mask decoder, the encoder frozen) or "encoder" (both); by default what the defaults file
            says. AutoSAM has the first only, SAMed the second.
        settings: values that replace frozen defaults, by field path, such as {"recipe.epochs": 10}.
        seed: of the split, the start of what is learned, and the views.
        force: replace a finished specialist.
        allow_blank: accept masks without foreground, or without background.
        device: as torch names it; by default a GPU if there is one.
        batch_size: images a step, over all workers together; the learning rate follows by the square root.
        workers: that train together, on Ray; one needs no Ray. Their number changes the result by rounding only.
        storage: where several workers' checkpoints go, see distributed.train; by default inside `out`.
        address: of a running Ray cluster for several workers; by default $RAY_ADDRESS, or Ray on this machine.
        track: log the run to MLflow.
        show: where progress goes; by default nowhere.

    Raises:
        PtsamError: see errors; raised before any training wherever possible.
    """
    folder, show = Path(folder), show or Show.nothing()
    out = Path(out) if out is not None else Path(f"{folder.resolve().name}-specialist")
    work = _claim(out, force)
    train, held_out = _images(folder, Path(test) if test is not None else None, allow_blank, seed, show)
    device = device or artifact.default_device()
    plan = _plan(backbone, method, adapt, settings or {}, batch_size, device, show)
    Team(0, workers).check(plan.settings.recipe.batch_size)
    met = _met(plan, [*train, *held_out.pairs])
    if met:
        show.say(met)
    model = registry.build(plan.backbone.sam.to(device), plan.settings.method, seed)

    work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    crew = _Crew(workers, storage, address)
    curve = _train(work, model, plan, train, seed, crew, show)
    seconds = time.perf_counter() - began

    tuned, untuned, panels = _measure(model, plan, held_out.pairs, show)
    evidence = defaults.evidence(plan.backbone.family, plan.adapt, plan.settings.method.name)
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "backbone": {"name": plan.backbone.name, "sha256": plan.backbone.sha256},
        "adapt": plan.adapt,
        **asdict(plan.settings),
        "seed": seed,
        "settings": plan.sources,
        "searched": {key: value for key, value in evidence.items() if key != "data"} if evidence else None,
        "data": {
            "folder": folder.name,
            "fingerprint": fingerprint(train),
            "train": [pair.name for pair in train],
            "held_out_folder": held_out.folder.name,
            "held_out": [pair.name for pair in held_out.pairs],
        },
        "scores": {"tuned": tuned.as_dict(), "untuned": untuned.as_dict()},
        "alarms": [*_alarms(tuned, untuned), *([met] if met else [])],
        "cost": {
            "trainable": sum(parameter.numel() for parameter in model.trainable().values()),
            "bytes": sum(parameter.nbytes for parameter in model.trainable().values()),
            "steps": plan.settings.recipe.steps,
            "views": plan.settings.recipe.views_drawn(len(train)),
            "seconds": seconds,
            "device": device,
            "workers": workers,
        },
        "versions": {package: version(package) for package in ("ptsam-auto", "torch", "segment-anything")},
    }
    _finish(out, work, model, about, curve, panels, track, show)
    return artifact.Specialist(model.eval(), about)


@dataclass(frozen=True)
class _Plan:
    """What will be trained, and where each setting comes from."""

    backbone: checkpoint.Backbone
    adapt: str
    settings: Settings
    sources: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Crew:
    """Who trains; see `fit`."""

    workers: int
    storage: str | None
    address: str | None


def _claim(out: Path, force: bool) -> Path:
    """Make sure that the result can be written, before anything costs time; returns the folder to work in."""
    if (out / artifact.ABOUT).exists() and not force:
        raise OutputError(f"{out} already holds a finished specialist.\nChoose another --out, or replace it: --force")
    work = out / IN_PROGRESS
    if out.is_dir() and not work.exists() and not (out / artifact.ABOUT).exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty and not a specialist.\nChoose another --out, or empty it first.")
    try:
        work.mkdir(parents=True, exist_ok=True)
        probe = work / "writable"
        probe.touch()
        probe.unlink()
        # A folder with problems should leave nothing behind; what is not empty stays.
        with suppress(OSError):
            work.rmdir()
            out.rmdir()
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.\nChoose another --out.") from None
    return work


def _images(
    folder: Path, test: Path | None, allow_blank: bool, seed: int, show: Show
) -> tuple[Sequence[Pair], Dataset]:
    """Training pairs, and the dataset to measure on."""
    with show.bar("Reading") as update:
        dataset = read_folder(folder, allow_blank=allow_blank, progress=update)
    if test is None:
        train, rest = hold_out(dataset.pairs, seed=seed)
        if not rest:
            problem = Problem("", "1 image; expected at least 2, one of them to measure on")
            raise DatasetError(folder, [problem], "Add images, or give others to measure on: --test DIR")
        held_out = Dataset(folder, dataset.layout, rest)
        where = f"{len(rest)} held out to measure on"
    else:
        with show.bar("Reading") as update:
            held_out = read_folder(test, allow_blank=True, progress=update)
        known = {pair.digest: pair.name for pair in dataset.pairs}
        shared = [
            Problem(pair.name, f"also {known[pair.digest]} in {folder}/")
            for pair in held_out.pairs
            if pair.digest in known
        ]
        if shared:
            raise DatasetError(test, shared, "Measure on images that are not trained on, then run the command again.")
        # Content decides the order here as in hold_out, so that renaming files changes nothing.
        train = tuple(sorted(dataset.pairs, key=lambda pair: pair.digest))
        where = f"{len(held_out.pairs)} of {test} to measure on"
    show.say(f"Images: {len(train)} to train on, {where} ({dataset.layout} layout).")
    return train, held_out


def _plan(
    choice: str,
    method: str,
    adapt: str | None,
    changes: Mapping[str, Any],
    batch_size: int | None,
    device: str,
    show: Show,
) -> _Plan:
    registry.named(method)
    if "method.name" in changes:
        raise ConfigError("method.name cannot be set; choose a method with --method.")
    with show.bar("Backbone") as update:
        backbone = checkpoint.choose(choice, say=show.say, progress=update)
    family = backbone.family
    possible = defaults.adaptations(family, method)
    adapt = adapt or defaults.adaptation(family, "cuda" if device.startswith("cuda") else "cpu", method).value
    if adapt not in possible:
        raise ConfigError(f"{method} adapts the {possible[0]} only, not the {adapt}. Leave out --adapt {adapt}.")
    block = defaults.block(family, adapt, method)
    sources = {default.path: {"value": default.value, "source": default.source} for default in block}
    if batch_size is not None:
        sources |= _for_batch_size(batch_size, sources)
    sources |= {path: {"value": value, "source": "set by the user"} for path, value in changes.items()}
    settings = Settings.from_paths({path: source["value"] for path, source in sources.items()})
    return _Plan(backbone, adapt, settings, sources)


def _for_batch_size(batch_size: int, sources: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Another batch size, and the learning rate that goes with it: AdamW's steps grow with the batch's square root.

    See Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient algorithms".
    """
    before, rate = (sources[path] for path in ("recipe.batch_size", "recipe.learning_rate"))
    scaled = rate["value"] * math.sqrt(batch_size / before["value"])
    why = f"{rate['value']} ({rate['source']}) x sqrt({batch_size} / {before['value']}), for a batch of {batch_size}"
    return {
        "recipe.batch_size": {"value": batch_size, "source": "set by the user"},
        "recipe.learning_rate": {"value": scaled, "source": why},
    }


def _met(plan: _Plan, pairs: Sequence[Pair]) -> str | None:
    """What is to be said where images chose the defaults that are now measured on them."""
    method = plan.settings.method.name
    found = defaults.met(plan.backbone.family, plan.adapt, method, (pair.digest for pair in pairs))
    if not found:
        return None
    sets = ", ".join(f"{count} of {name}" for name, count in found.items())
    return f"The defaults were chosen on {sum(found.values())} of these images ({sets}): do not quote this score."


def _key(plan: _Plan, train: Sequence[Pair], seed: int) -> str:
    """Names a training run by all that decides its result; only a checkpoint of the same run may continue it."""
    contents = {
        "backbone": plan.backbone.sha256,
        "settings": asdict(plan.settings),
        "train": [pair.digest for pair in train],
        "seed": seed,
        "version": version("ptsam-auto"),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _train(
    work: Path, model: PromptFreeSam, plan: _Plan, train: Sequence[Pair], seed: int, crew: _Crew, show: Show
) -> list[EpochReport]:
    path, key, epochs = work / "checkpoint.safetensors", _key(plan, train, seed), plan.settings.recipe.epochs
    training = loop.start(model, plan.settings.recipe)
    curve = resume.load(path, training, key)
    if crew.workers > 1 and len(curve) < epochs:
        curve = _train_together(work, training, plan, train, seed, crew, show)
        resume.save(path, training, curve, key)
        return curve
    if curve:
        show.say(f"Continuing after epoch {curve[-1].epoch} of {epochs}.")
    with show.bar("Encoding") as update:
        views = views_for(model, plan.backbone.sha256, train, plan.settings, seed, work / "bank", update)
    with show.bar("Training") as update:
        update(len(curve), epochs)
        for report in loop.epochs(training, views, plan.settings.recipe):
            curve.append(report)
            resume.save(path, training, curve, key)
            update(report.epoch, epochs, f"loss {report.loss:.3f}")
    return curve


def _train_together(
    work: Path, training: loop.Training, plan: _Plan, train: Sequence[Pair], seed: int, crew: _Crew, show: Show
) -> list[EpochReport]:
    from ptsam_auto.distributed.cluster import threads_each
    from ptsam_auto.distributed.train import Job, train_together

    job = Job(
        backbone=plan.backbone.name,
        sha256=plan.backbone.sha256,
        settings=plan.settings,
        pairs=tuple(train),
        seed=seed,
        key=_key(plan, train, seed),
        bank=(work / "bank").resolve(),
        workers=crew.workers,
        threads=threads_each(crew.workers, crew.address),
    )
    show.say(f"{crew.workers} workers train together, {job.threads} threads each.")
    gpu = training.model.device.type == "cuda"
    with show.bar("Training") as update:
        return train_together(
            job, training, work, use_gpu=gpu, storage=crew.storage, address=crew.address, progress=update
        )


def _measure(
    model: PromptFreeSam, plan: _Plan, pairs: Sequence[Pair], show: Show
) -> tuple[Scores, Scores, list[Panel]]:
    """Scores of the specialist and of the same SAM as it was before, and pictures to look at."""
    pictures: dict[str, np.ndarray] = {}

    def look(sample: Sample, mask: np.ndarray) -> None:
        if len(pictures) < PANELS:
            pictures[sample.name] = beside(sample.image, mask, sample.mask)

    bare = PromptFreeSam(plan.backbone.sam, mask_token=plan.settings.method.mask_token, tiles=model.tiles)
    with show.bar("Measuring") as update:
        total = 2 * len(pairs)
        tuned = evaluate(partial(predict, model), pairs, progress=lambda done: update(done, total), look=look)
        untuned = evaluate(partial(predict, bare), pairs, progress=lambda done: update(len(pairs) + done, total))
    dice = {image.name: image.dice for image in tuned.images}
    bare_dice = {image.name: image.dice for image in untuned.images}
    return tuned, untuned, [Panel(name, dice[name], bare_dice[name], picture) for name, picture in pictures.items()]


def _alarms(tuned: Scores, untuned: Scores) -> list[str]:
    alarms = [tuned.alarm] if tuned.alarm else []
    if tuned.dice <= untuned.dice:
        alarms.append("Tuning did not help: on the held-out images the untuned SAM is at least as good.")
    return alarms


def _finish(
    out: Path,
    work: Path,
    model: PromptFreeSam,
    about: dict[str, Any],
    curve: Sequence[EpochReport],
    panels: Sequence[Panel],
    track: bool,
    show: Show,
) -> None:
    """Write everything aside, log it, and only then put it in place: a reader never sees half a specialist."""
    ready = work / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    artifact.save(ready, model, about)
    write_report(ready / "report.html", out.name, about, curve, panels)
    logged = None
    if track:
        from ptsam_auto.tracking.log_fit import log_fit

        show.say("Logging the run to MLflow ...")
        try:
            pictures = {panel.name: panel.picture for panel in panels}
            logged = log_fit(about["data"]["folder"], ready, about, curve, pictures)
        except Exception as error:
            show.say(f"MLflow did not take the run ({type(error).__name__}); the specialist is not affected.")
    with suppress(FileNotFoundError):
        (out / artifact.ABOUT).unlink()
    for name in (artifact.LEARNED, "report.html", artifact.ABOUT):
        (ready / name).replace(out / name)
    shutil.rmtree(work)
    scores = about["scores"]
    for alarm in about["alarms"]:
        show.say(f"LOOK BEFORE YOU USE IT: {alarm}")
    show.say(
        f"Dice {100 * scores['tuned']['dice']:.1f} +- {100 * scores['tuned']['dice_std']:.1f} on "
        f"{len(scores['tuned']['images'])} held-out images (untuned SAM: {100 * scores['untuned']['dice']:.1f})."
    )
    show.say(f"Specialist: {out}/ ({about['cost']['trainable']:,} learned numbers); look at {out / 'report.html'}")
    if logged:
        show.say(f"MLflow has the run: mlflow ui --backend-store-uri {logged} --host 127.0.0.1")
