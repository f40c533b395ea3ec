"""Trains one configuration on all folds and evaluates it at each rung.

This module does not use Ray. `run_trial` is a generator; its caller may report, stop or save.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ptsam_auto.experiment.folds import Fold
from ptsam_auto.experiment.workspace import FoldRun, Workspace, train
from ptsam_auto.search.record import Rung
from ptsam_auto.specialist.learned import learned_size
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass(frozen=True)
class Task:
    """Data that all trials of a search on one backbone share; it is sent to every worker.

    Args:
        workspace: Backbone, shared folder and device.
        folds: Folds that each trial is trained and evaluated on.
        shares: Fractions of a trial's epochs at which it is evaluated, ascending; the last is 1.
    """

    workspace: Workspace
    folds: tuple[Fold, ...]
    shares: tuple[float, ...]

    def checkpoints(self, number: int) -> Path:
        """Return the folder with the checkpoints of a trial."""
        return self.workspace.folder / "trials" / f"{number:04d}"


@dataclass(frozen=True)
class TrialReport:
    """The report of a trial at a rung.

    Args:
        rung: The evaluation.
        trainable: Number of learned parameters.
        encoded: Number of views and held-out tiles that the trial itself has encoded so far.
        views: Number of encoded views that its trainings use, whichever trial has encoded them.
        encoding: Time in which the trial has encoded `encoded` views and tiles, seconds.
    """

    rung: Rung
    trainable: int
    encoded: int
    views: int
    encoding: float


def run_trial(number: int, settings: Settings, task: Task, group: WorkerGroup = SINGLE_WORKER) -> Iterator[TrialReport]:
    """Train one configuration on all folds, and yield a report at each rung.

    If its worker failed, the trial continues from the last epoch and reports the current rung again.

    Args:
        number: Number of the trial.
        settings: All settings of the trial.
        task: Data that the trials share.
        group: The workers that train it together. Each worker must consume the reports, which are the same in all.

    Raises:
        PtsamError: The loss is not a number.
    """
    torch.set_num_threads(task.workspace.threads)
    cv2.setNumThreads(task.workspace.threads)
    folder = task.checkpoints(number)
    runs = [FoldRun(fold, settings, task.workspace, folder, group) for fold in task.folds]
    began = time.perf_counter()
    encoded = sum(run.encode() for run in runs)
    encoding = time.perf_counter() - began
    views = sum(fold_run.run.encoded_views for fold_run in runs)
    trainable = learned_size(runs[0].run.model).trainable
    for share, epoch in rungs(task.shares, settings.recipe.epochs):
        if any(len(fold_run.run.curve) > epoch for fold_run in runs):
            continue  # This rung was reported before the worker failed.
        train(runs, until=epoch)
        rung = Rung(
            share=share,
            epoch=epoch,
            step=runs[0].run.step,
            folds={fold_run.fold.name: fold_run.scores().dice for fold_run in runs},
            loss=float(np.mean([fold_run.run.curve[-1].loss for fold_run in runs])),
            seconds=sum(fold_run.run.seconds for fold_run in runs),
        )
        yield TrialReport(rung, trainable, encoded, views, encoding)


def rungs(shares: tuple[float, ...], epochs: int) -> list[tuple[float, int]]:
    """Return fraction and epoch of each rung. If several fractions give the same epoch, the last one is used."""
    by_epoch = {max(1, round(share * epochs)): share for share in shares}
    return [(share, epoch) for epoch, share in by_epoch.items()]
