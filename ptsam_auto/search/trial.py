"""One configuration, trained on every cell in lockstep and measured at every rung.

Knows no Ray: whoever consumes it may report, stop or save.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ptsam_auto.methods import registry
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.cells import Cell
from ptsam_auto.search.held_out import HeldOut
from ptsam_auto.specialist.evaluate import evaluate
from ptsam_auto.specialist.predict import predict
from ptsam_auto.training import loop, resume
from ptsam_auto.training.bank import FeatureBank, views_for
from ptsam_auto.training.loop import EpochReport
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import ALONE, Team
from ptsam_auto.training.views import Supply, Views


@dataclass(frozen=True)
class Task:
    """What all trials of a search share; it goes to every worker.

    Args:
        cells: what is trained and measured.
        backbone: its name or path, as `checkpoint.find` takes it.
        sha256: of its weights.
        shares: of a trial's epochs at which it is measured, ascending, the last is 1.
        folder: the search's, on a disk that all workers see.
        most_views: of the largest bank that any trial wants, so that it is encoded once for all.
        threads: that a trial computes with.
        device: as torch names it.
    """

    cells: tuple[Cell, ...]
    backbone: str
    sha256: str
    shares: tuple[float, ...]
    folder: Path
    most_views: int
    threads: int
    device: str

    @property
    def bank(self) -> Path:
        """Features that trials share."""
        return self.folder / "bank"

    def resume_folder(self, number: int) -> Path:
        """Where a trial keeps what it needs to go on."""
        return self.folder / "trials" / f"{number:04d}"


def trial(number: int, settings: Settings, task: Task, team: Team = ALONE) -> Iterator[dict[str, Any]]:
    """Train one configuration on all cells, and report at every rung.

    Begun again after its worker died, it goes on from the last epoch, and reports the rung it stands at once more.

    Args:
        number: the trial's.
        settings: all of them.
        task: what it shares with the others.
        team: those who train it together; every one of them has to consume its reports, which are the same.

    Yields:
        share, epoch, step, cells (Dice by name), loss and seconds as `records.Rung` has them; trainable and encoded as
        `records.Trial` has them.

    Raises:
        PtsamError: the loss is no longer a number.
    """
    torch.set_num_threads(task.threads)
    cv2.setNumThreads(task.threads)
    sam = backbone_of(task.backbone, task.sha256).sam.to(task.device)
    runs = [Run(cell, sam, settings, task, task.resume_folder(number), team) for cell in task.cells]
    for share, epoch in rungs(task.shares, settings.recipe.epochs):
        if any(run.epoch > epoch for run in runs):
            continue  # reported before the worker died
        for run in runs:
            run.advance(epoch)
        yield {
            "share": share,
            "epoch": epoch,
            "step": runs[0].training.step,
            "cells": {run.cell.name: float(np.mean(run.dice())) for run in runs},
            "loss": float(np.mean([run.curve[-1].loss for run in runs])),
            "seconds": sum(report.seconds for run in runs for report in run.curve),
            "trainable": sum(parameter.numel() for parameter in runs[0].model.trainable().values()),
            "encoded": sum(run.encoded for run in runs),
        }


def rungs(shares: tuple[float, ...], epochs: int) -> list[tuple[float, int]]:
    """Share and epoch of each rung; of shares that fall on one epoch the last stands for all."""
    by_epoch = {max(1, round(share * epochs)): share for share in shares}
    return [(share, epoch) for epoch, share in by_epoch.items()]


class Run:
    """The training of one cell: begun, or gone on with from its folder."""

    def __init__(
        self,
        cell: Cell,
        sam: Any,  # noqa: ANN401
        settings: Settings,
        task: Task,
        folder: Path,
        team: Team,
    ) -> None:
        self.cell, self._settings, self._team = cell, settings, team
        self.model = registry.build(sam, settings.method, cell.seed)
        self.training = loop.start(self.model, settings.recipe)
        self.encoded = 0
        self._views, self._held_out = self._features(task)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{cell.name.replace('/', '-')}.safetensors"
        self._key = _key(cell, settings, task.sha256)
        self.curve: list[EpochReport] = resume.load(self._file, self.training, self._key)

    def _features(self, task: Task) -> tuple[Views, HeldOut | None]:
        cell, held_out = self.cell, None
        if self.model.encoder_is_frozen:
            held_out = HeldOut(task.bank, self.model, task.sha256, cell.held_out)
            self.encoded += held_out.encoded
        views = views_for(
            self.model,
            task.sha256,
            Supply.of(cell.train, self._settings, cell.seed, self._team),
            self._settings.recipe,
            task.bank,
            at_least=task.most_views,
        )
        self.encoded += views.encoded if isinstance(views, FeatureBank) else 0
        return views, held_out

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.curve)

    def advance(self, epoch: int) -> None:
        """Train until that many epochs are done."""
        if self.epoch >= epoch:
            return
        for report in loop.epochs(self.training, self._views, self._settings.recipe, self._team):
            self.curve.append(report)
            if self._team.rank == 0:  # all are equal, one writes
                resume.save(self._file, self.training, self.curve, self._key)
            if report.epoch >= epoch:
                return

    def dice(self) -> list[float]:
        """Of each held-out image, 0 to 1."""
        if self._held_out is not None:
            return self._held_out.dice(self.model)
        return [image.dice for image in evaluate(partial(predict, self.model), self.cell.held_out).images]


@lru_cache(maxsize=1)
def backbone_of(name: str, sha256: str) -> checkpoint.Backbone:
    """One copy a process: a worker runs many trials."""
    return checkpoint.find(name, sha256)


def _key(cell: Cell, settings: Settings, sha256: str) -> str:
    """A checkpoint of other settings, images or weights must not be continued."""
    contents = [asdict(settings), cell.seed, [pair.digest for pair in cell.train], sha256]
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
