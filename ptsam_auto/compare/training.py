"""One training of a comparison and its evaluation. Does not use Ray."""

import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ptsam_auto.experiment.folds import Fold
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.files import replacing
from ptsam_auto.specialist.learned import learned_size
from ptsam_auto.training.trainer import Trainer

PANEL_IMAGES = 3  # Number of held-out images per dataset in the qualitative panel (Fig. 6).
MASKS = "masks"  # Folder of the masks for that panel.
TRAININGS = "trainings"  # Folder of the checkpoints.


@dataclass(frozen=True)
class Training:
    """One training of a comparison.

    Args:
        dataset: Name of the dataset.
        fold: Training images of one size, and the held-out images of the split.
        size: Requested number of training images; 0 for the untuned SAM.
        entry: Name of the method.
        trainer: Trainer of the method.
        save_masks: Whether to save the masks for the qualitative panel.
    """

    dataset: str
    fold: Fold
    size: int
    entry: str
    trainer: Trainer
    save_masks: bool = False

    @property
    def name(self) -> str:
        """Return the name, which is unique in a comparison: "cells/0/16/ptsam"."""
        return f"{self.dataset}/{self.fold.seed}/{self.size}/{self.entry}"


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Args:
        dice: Dice of each held-out image that has foreground, 0 to 1, by name.
        seconds: Training time in seconds.
        steps: Number of optimiser steps.
        trainable: Number of learned parameters.
        bytes: Size of the learned parameters in bytes.
        peak_bytes: Peak memory in bytes: GPU memory, or the memory of the process if there is no GPU.
    """

    dice: dict[str, float]
    seconds: float
    steps: int
    trainable: int
    bytes: int
    peak_bytes: int


def train(training: Training, workspace: Workspace) -> Outcome:
    """Train and evaluate. If there is a checkpoint, the training continues from it.

    Args:
        training: The training.
        workspace: Shared folder and device.

    Raises:
        PtsamError: nnU-Net is not installed or failed, or the loss is not a number.
    """
    torch.set_num_threads(workspace.threads)
    folder = workspace.folder / TRAININGS / training.name
    folder.mkdir(parents=True, exist_ok=True)
    fold = training.fold
    trained = training.trainer.train(fold.train, fold.seed, folder, workspace.device)
    if training.save_masks:
        _save_masks(training, workspace.folder / MASKS, trained.model.predict)
    held_out = HeldOut(workspace.bank, trained.backbone_sha256 or "", fold.held_out)
    size = learned_size(trained.model)
    outcome = Outcome(
        dice={image.name: image.dice for image in held_out.scores(trained.model).measured},
        seconds=trained.seconds,
        steps=trained.steps,
        trainable=size.trainable,
        bytes=size.bytes,
        peak_bytes=_peak(workspace.device),
    )
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _save_masks(training: Training, masks: Path, predict: Callable[[np.ndarray], np.ndarray]) -> None:
    folder = masks / training.dataset / training.entry
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(training.fold.held_out[:PANEL_IMAGES]):
        with replacing(folder / f"{number}.png") as unfinished:
            Image.fromarray(predict(pair.load().image).astype(np.uint8) * 255).save(unfinished, format="PNG")


def _peak(device: str) -> int:
    """Return the peak memory of this process in bytes, or that of its largest child process (nnU-Net has some)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
