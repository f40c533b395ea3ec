"""The story of `fit`, top to bottom: a folder of annotated images becomes a specialist."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.baselines import nnunet
from ptsam_auto.data.dataset import Dataset, Pair, Sample, fingerprint
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.fitting.made import Asked, Made
from ptsam_auto.fitting.nnunet import fit_nnunet
from ptsam_auto.fitting.sam import fit_sam
from ptsam_auto.show import Show
from ptsam_auto.specialist import artifact
from ptsam_auto.specialist.evaluate import Scores, evaluate
from ptsam_auto.specialist.report import Panel, beside, write_report

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
        method: "ptsam", or a rival: "cellseg1", "autosam", "samed", see methods.registry; "nnunet", see fitting.nnunet.
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
    asked = Asked(method, backbone, adapt, settings or {}, seed, device, batch_size, workers, storage, address)
    network = "nnunetv2" if method == nnunet.NAME else "segment-anything"  # the package it comes from
    if method == nnunet.NAME:
        made = fit_nnunet(work, train, asked, show)
    else:
        made = fit_sam(work, train, held_out.pairs, asked, show)
    tuned, untuned, panels = _measure(made, held_out.pairs, show)
    learned = made.model.trainable().values()
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **made.about,
        "seed": seed,
        "data": {
            "folder": folder.name,
            "fingerprint": fingerprint(train),
            "train": [pair.name for pair in train],
            "held_out_folder": held_out.folder.name,
            "held_out": [pair.name for pair in held_out.pairs],
        },
        "scores": {"tuned": tuned.as_dict(), "untuned": untuned.as_dict() if untuned else None},
        "alarms": [*_alarms(tuned, untuned), *made.alarms],
        "cost": {
            "trainable": sum(parameter.numel() for parameter in learned),
            "bytes": sum(parameter.nbytes for parameter in learned),
            **made.cost,
            "device": device,
            "workers": workers,
        },
        "versions": {package: version(package) for package in ("ptsam-auto", "torch", network)},
    }
    _finish(out, work, made, about, panels, track, show)
    return artifact.Specialist(made.model, about)


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


def _measure(made: Made, pairs: Sequence[Pair], show: Show) -> tuple[Scores, Scores | None, list[Panel]]:
    """Scores of the specialist and of the same network as it was before, and pictures to look at."""
    pictures: dict[str, np.ndarray] = {}

    def look(sample: Sample, mask: np.ndarray) -> None:
        if len(pictures) < PANELS:
            pictures[sample.name] = beside(sample.image, mask, sample.mask)

    with show.bar("Measuring") as update:
        total = (2 if made.untuned else 1) * len(pairs)
        predict = partial(artifact.predict, made.model)
        tuned = evaluate(predict, pairs, progress=lambda done: update(done, total), look=look)
        untuned = None
        if made.untuned:
            untuned = evaluate(made.untuned, pairs, progress=lambda done: update(len(pairs) + done, total))
    dice = {image.name: image.dice for image in tuned.images}
    bare_dice = {image.name: image.dice for image in untuned.images} if untuned else {}
    return tuned, untuned, [Panel(name, dice[name], bare_dice.get(name), picture) for name, picture in pictures.items()]


def _alarms(tuned: Scores, untuned: Scores | None) -> list[str]:
    alarms = [tuned.alarm] if tuned.alarm else []
    if untuned and tuned.dice <= untuned.dice:
        alarms.append("Tuning did not help: on the held-out images the untuned SAM is at least as good.")
    return alarms


def _finish(
    out: Path,
    work: Path,
    made: Made,
    about: dict[str, Any],
    panels: Sequence[Panel],
    track: bool,
    show: Show,
) -> None:
    """Write everything aside, log it, and only then put it in place: a reader never sees half a specialist."""
    ready = work / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    artifact.save(ready, made.model, about)
    write_report(ready / "report.html", out.name, about, made.curve, panels)
    logged = None
    if track:
        from ptsam_auto.tracking.log_fit import log_fit

        show.say("Logging the run to MLflow ...")
        try:
            pictures = {panel.name: panel.picture for panel in panels}
            logged = log_fit(about["data"]["folder"], ready, about, made.curve, pictures)
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
        f"{len(scores['tuned']['images'])} held-out images"
        + (f" (untuned SAM: {100 * scores['untuned']['dice']:.1f})." if scores["untuned"] else ".")
    )
    show.say(f"Specialist: {out}/ ({about['cost']['trainable']:,} learned numbers); look at {out / 'report.html'}")
    if logged:
        show.say(f"MLflow has the run: mlflow ui --backend-store-uri {logged} --host 127.0.0.1")
