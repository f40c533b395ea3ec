"""One training of one method, and what came of it. Knows no Ray: whoever runs it may be anywhere."""

import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ptsam_auto.baselines import nnunet
from ptsam_auto.compare.entries import Entry
from ptsam_auto.data.dataset import Sample
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.search.cells import Cell
from ptsam_auto.search.trial import Run, Task, backbone_of
from ptsam_auto.specialist.evaluate import evaluate
from ptsam_auto.specialist.predict import predict
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import ALONE

UNTUNED = "untuned"
SHOWN = 3  # held-out images of a dataset that are drawn for the qualitative panel
MASKS = "masks"  # folder of the masks for that panel


@dataclass(frozen=True)
class Bout:
    """One training.

    Args:
        dataset: its name.
        cell: training images of one size, and the split's held-out images.
        size: training images that were asked for.
        entry: who; None for the untuned SAM.
        values: the entry's settings by field path; nnU-Net's config's fields.
        draw: keep masks for the panel.
    """

    dataset: str
    cell: Cell
    size: int
    entry: Entry | None
    values: Mapping[str, Any]
    draw: bool = False

    @property
    def who(self) -> str:
        """The entry's name."""
        return self.entry.name if self.entry else UNTUNED

    @property
    def name(self) -> str:
        """Unique in a comparison: "cells/0/16/ptsam"."""
        return f"{self.dataset}/{self.cell.seed}/{self.size}/{self.who}"


def fight(bout: Bout, task: Task) -> dict[str, Any]:
    """Train and measure; begun again after a death, it goes on.

    Args:
        bout: what.
        task: backbone, shared folder and device; its cells are not looked at.

    Returns:
        dice of each held-out image, by name; seconds of training; steps; trainable numbers; bytes that ship; peak_bytes
        of memory (the GPU's, or else the process's).

    Raises:
        PtsamError: nnU-Net is not installed or failed, or the loss is no longer a number.
    """
    torch.set_num_threads(task.threads)
    folder = task.folder / "bouts" / bout.name
    if bout.entry is None:
        found = _untuned(bout, task)
    elif bout.entry.method == nnunet.NAME:
        found = _nnunet(bout, task, folder)
    else:
        found = _sam(bout, task, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return {**found, "peak_bytes": _peak(task.device)}


def _sam(bout: Bout, task: Task, folder: Path) -> dict[str, Any]:
    settings = Settings.from_paths(bout.values)
    sam = backbone_of(task.backbone, task.sha256).sam.to(task.device)
    run = Run(bout.cell, sam, settings, replace(task, most_views=0), folder, ALONE)
    run.advance(settings.recipe.epochs)
    learned = run.model.trainable().values()
    _draw(bout, task, partial(predict, run.model))
    return {
        "dice": dict(zip((pair.name for pair in bout.cell.held_out), run.dice(), strict=True)),
        "seconds": sum(report.seconds for report in run.curve),
        "steps": run.training.step,
        "trainable": sum(parameter.numel() for parameter in learned),
        "bytes": sum(parameter.nbytes for parameter in learned),
    }


def _untuned(bout: Bout, task: Task) -> dict[str, Any]:
    method = Settings.from_paths(bout.values).method
    sam = backbone_of(task.backbone, task.sha256).sam.to(task.device)
    bare = PromptFreeSam(sam, mask_token=method.mask_token, tiles=method.tiles)
    nothing = {"seconds": 0.0, "steps": 0, "trainable": 0, "bytes": 0}
    return {"dice": _measured(bout, task, partial(predict, bare)), **nothing}


def _nnunet(bout: Bout, task: Task, folder: Path) -> dict[str, Any]:
    config = nnunet.NnunetConfig(**bout.values)
    folder.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    trained, _ = nnunet.train(bout.cell.train, folder, config, device=task.device)
    seconds = time.perf_counter() - began
    learned = trained.trainable().values()
    return {
        "dice": _measured(bout, task, trained.predict),
        "seconds": seconds,
        "steps": config.epochs * config.steps_per_epoch,
        "trainable": sum(parameter.numel() for parameter in learned),
        "bytes": sum(parameter.nbytes for parameter in learned),
    }


def _measured(bout: Bout, task: Task, predict: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    _draw(bout, task, predict)
    return {image.name: image.dice for image in evaluate(predict, bout.cell.held_out).images}


def _draw(bout: Bout, task: Task, predict: Callable[[np.ndarray], np.ndarray]) -> None:
    if not bout.draw:
        return
    folder = task.folder / MASKS / bout.dataset / bout.who
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(bout.cell.held_out[:SHOWN]):
        sample: Sample = pair.load()
        Image.fromarray(predict(sample.image).astype(np.uint8) * 255).save(folder / f"{number}.png")


def _peak(device: str) -> int:
    """Bytes, at most, so far; a bout has a process of its own. nnU-Net's own processes count as the largest of them."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
