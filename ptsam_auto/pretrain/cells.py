"""Which rows a judging consists of, what decides each, and how its numbers are had."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from segment_anything.modeling import Sam

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.pretrain import unet
from ptsam_auto.pretrain.judged_sets import JudgedSet, digests, read_sets, unseen_instances
from ptsam_auto.pretrain.learner import fresh
from ptsam_auto.pretrain.otsu import choose_otsu
from ptsam_auto.pretrain.rows import Row
from ptsam_auto.pretrain.sources import open_folder
from ptsam_auto.pretrain.specialists import judging_settings, specialise
from ptsam_auto.pretrain.zero_shot import Prompted, held_out_of_the_mix, measure, never_seen
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.generalist import Architecture, architecture_of, from_state
from ptsam_auto.specialist.evaluate import evaluate
from ptsam_auto.specialist.predict import predict
from ptsam_auto.training.settings import Settings

VERSION = 2  # of how things are measured; rows of another version are measured anew
RANDOM_SEED = 0  # of the control that was never trained

Part = Literal["zero-shot", "specialist"]
Outcome = tuple[dict[str, float], float]  # measures, and CPU seconds
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What to measure.

    Args:
        weights: each "nano" or a file of weights.
        data: folders with splits.json (judged on, as specialist and, where there are instances, zero shot) or with
            index.csv (zero shot, on what pretraining holds out of them).
        out: folder that keeps every finished row.
        seeds: of training images, prompts and views.
        train_images: a specialist's.
        most: test images of a set; None for all.
        steps: of a specialist with decoder prompts; None for the frozen default.
        deep: measure deep prompts too.
        deep_steps: of these; None for the frozen default.
        parts: "zero-shot", "specialist" or both.
        workers: processes that measure side by side, each with its share of the cores.
    """

    weights: tuple[str, ...]
    data: tuple[Path, ...]
    out: Path
    seeds: tuple[int, ...] = (0, 1)
    train_images: int = 16
    most: int | None = None
    steps: int | None = None
    deep: bool = False
    deep_steps: int | None = None
    parts: tuple[Part, ...] = ("zero-shot", "specialist")
    workers: int = 1


@dataclass(frozen=True)
class Generalist:
    """Weights to judge, or made up; `label` tells files of the same name apart."""

    label: str
    sha256: str
    sam: Sam


@dataclass(frozen=True)
class Cell:
    """A row to be.

    Args:
        exercise: cells of one number follow on each other, in one process; what another number has is independent.
        labels: the fields of `Row` but for key, seconds and measures.
        decides: all that decides the numbers besides part and method, as JSON has it; no names of files.
        run: gets the numbers; given the means to show progress.
    """

    exercise: int
    labels: dict[str, Any]
    decides: dict[str, Any]
    run: Callable[[Progress], Outcome]

    @property
    def key(self) -> str:
        """Names all that decides the numbers."""
        contents = {"version": VERSION, "part": self.labels["part"], "method": self.labels["method"]} | self.decides
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def generalist(choice: str) -> Generalist:
    """Weights by "nano" or the path of a file.

    Raises:
        BackboneError: they cannot be had, or are no SAM's.
    """
    backbone = checkpoint.load(choice)
    label = choice if choice == "nano" else f"{Path(choice).stem} {backbone.sha256[:8]}"
    return Generalist(label, backbone.sha256, backbone.sam)


def untrained(like: Sam) -> Generalist:
    """The network that pretraining of this architecture would start from."""
    architecture = architecture_of(like.state_dict())
    name = _architecture_in_words(architecture)
    return Generalist(name, f"random {RANDOM_SEED} {architecture}", from_state(fresh(architecture, RANDOM_SEED)))


def cells(asked: Evaluation, generalists: Sequence[Generalist], finished: Mapping[str, Row]) -> Iterator[Cell]:
    """Every row that was asked for, in the table's order.

    Args:
        asked: what to measure.
        generalists: its weights.
        finished: rows by key; a row is in it before the next cell is asked for.
    """
    sets = []
    if "specialist" in asked.parts:
        # Before anything costs time, so that a folder with problems is known at once.
        sets = [judged for folder in asked.data if not _is_mix(folder) for judged in read_sets(folder, asked.most)]
    number = itertools.count()
    if "zero-shot" in asked.parts:
        for prompted in _prompted(asked):
            yield from _zero_shot(next(number), prompted, generalists)
    for judged in sets:
        for seed in asked.seeds:
            train = judged.training_images(asked.train_images, seed)
            exercise = _Exercise(next(number), judged, train, seed)
            yield from _specialists(asked, generalists, exercise, finished)


def _is_mix(folder: Path) -> bool:
    return (folder / "index.csv").is_file()


def _prompted(asked: Evaluation) -> list[Prompted]:
    mixes = [folder for folder in asked.data if _is_mix(folder)]
    found = held_out_of_the_mix([entry for folder in mixes for entry in open_folder(folder)[1].entries])
    for folder in asked.data:
        if folder not in mixes and (entries := unseen_instances(folder, asked.most)):
            found.append(never_seen(folder.resolve().name, entries))
    return found


def _zero_shot(exercise: int, prompted: Prompted, generalists: Sequence[Generalist]) -> Iterator[Cell]:
    files = [path for entry in prompted.entries for path in (entry.image, entry.labels[0])]
    contents = [checkpoint.file_sha256(path) for path in files]

    def run(sam: Sam, progress: Progress) -> Outcome:
        progress(0, 1)
        return measure(sam, prompted.images(sam.image_encoder.img_size))

    for one in generalists:
        labels: dict[str, Any] = {"part": "zero-shot", "set": prompted.name, "folder": "", "method": "zero-shot"}
        labels |= {"weights": one.label, "sha256": one.sha256, "seed": None, "train": 0, "images": prompted.count}
        yield Cell(
            exercise, labels, {"weights": one.sha256, "set": prompted.name, "files": contents}, partial(run, one.sam)
        )


@dataclass(frozen=True)
class _Exercise:
    """One set with one choice of training images; makes cells that are labelled alike."""

    number: int
    judged: JudgedSet
    train: tuple[Pair, ...]
    seed: int

    def cell(
        self, method: str, weights: str, sha256: str, decides: dict[str, Any], run: Callable[[Progress], Outcome]
    ) -> Cell:
        labels: dict[str, Any] = {"part": "specialist", "set": self.judged.name, "folder": self.judged.folder}
        labels |= {"method": method, "weights": weights, "sha256": sha256, "seed": self.seed}
        labels |= {"train": len(self.train), "images": len(self.judged.test)}
        contents = {"train": digests(self.train), "test": digests(self.judged.test), "seed": self.seed}
        return Cell(self.number, labels, contents | decides, run)


def _specialists(
    asked: Evaluation,
    generalists: Sequence[Generalist],
    exercise: _Exercise,
    finished: Mapping[str, Row],
) -> Iterator[Cell]:
    settings = judging_settings("decoder", asked.steps)
    tuned = []
    for one in generalists:
        tuned.append(_tuned(asked, exercise, one, "ptsam", settings))
        yield tuned[-1]
        if asked.deep:
            yield _tuned(asked, exercise, one, "ptsam-deep", judging_settings("encoder", asked.deep_steps))
        yield _untuned(exercise, one, settings.method)
    for one in generalists:
        yield _tuned(asked, exercise, untrained(one.sam), "ptsam-random", settings)
    for one, cell in zip(generalists, tuned, strict=True):
        yield _unet(exercise, one.sam.image_encoder.img_size, settings, partial(_seconds, finished, cell.key))
    yield _otsu(exercise)


def score(predict: Callable[[np.ndarray], np.ndarray], pairs: Sequence[Pair]) -> dict[str, float]:
    """Mean Dice and IoU over images, 0 to 1."""
    found = evaluate(predict, pairs)
    return {"dice": found.dice, "iou": found.iou}


def _seconds(finished: Mapping[str, Row], key: str) -> float:
    """How long the specialist took; known once its row is finished, which is before the U-Net is asked for."""
    return finished[key].seconds


def _tuned(asked: Evaluation, exercise: _Exercise, one: Generalist, method: str, settings: Settings) -> Cell:
    def run(progress: Progress) -> Outcome:
        model, seconds = specialise(one.sam, one.sha256, exercise.train, settings, exercise.seed, asked.out, progress)
        return {**score(partial(predict, model), exercise.judged.test), "steps": settings.recipe.steps}, seconds

    sha256 = "" if method == "ptsam-random" else one.sha256
    return exercise.cell(method, one.label, sha256, {"weights": one.sha256, "settings": asdict(settings)}, run)


def _untuned(exercise: _Exercise, one: Generalist, method: PTSAMConfig) -> Cell:
    def run(progress: Progress) -> Outcome:
        progress(0, 1)
        bare = PromptFreeSam(one.sam, mask_token=method.mask_token, tiles=method.tiles)
        return score(partial(predict, bare), exercise.judged.test), 0.0

    # No training image and no seed has a part in it: one row serves all seeds.
    nothing: dict[str, Any] = {"train": [], "seed": None}
    seen = {"weights": one.sha256, "mask": method.mask_token, "tiles": method.tiles}
    cell = exercise.cell("untuned", one.label, one.sha256, seen | nothing, run)
    return replace(cell, labels=cell.labels | {"seed": None, "train": 0})


def _unet(exercise: _Exercise, size: int, settings: Settings, seconds: Callable[[], float]) -> Cell:
    def run(progress: Progress) -> Outcome:
        budget = seconds()
        progress(0, 1)
        trained = unet.train_unet(exercise.train, settings, size, exercise.seed, budget)
        return {**score(trained.predict, exercise.judged.test), "steps": trained.steps}, budget

    network = {"channels": unet.CHANNELS, "learning_rate": unet.LEARNING_RATE, "size": size}
    return exercise.cell("unet", f"{size} px", "", network | {"settings": asdict(settings)}, run)


def _otsu(exercise: _Exercise) -> Cell:
    def run(progress: Progress) -> Outcome:
        progress(0, 1)
        return score(choose_otsu(exercise.train).predict, exercise.judged.test), 0.0

    return exercise.cell("otsu", "", "", {}, run)


def _architecture_in_words(architecture: Architecture) -> str:
    return f"{architecture.width} wide, {architecture.depth} deep, {architecture.image_size} px"
