"""The interface of all trainers, the trainer of the SAM-based methods, and training on several sets of images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.model import Model
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.joint import groups
from ptsam_auto.training.loop import EpochReport
from ptsam_auto.training.run import Job, Run, Start, epochs
from ptsam_auto.training.scale import Scale, scale_of
from ptsam_auto.training.settings import Settings

CHECKPOINT, BANK = "checkpoint.safetensors", "bank"  # names in the folder of a training

Curve = dict[str, list[float]]  # learning curve: lists by name, "step" and the values measured at each step


@dataclass(frozen=True)
class Trained:
    """Result of a training: the model, its learning curve and its cost.

    Args:
        model: Trained model, ready to predict.
        curve: Learning curve; {} if there is none.
        steps: Number of optimiser steps.
        steps_before: Number of optimiser steps before, with which the prompts were learned at which it began.
        views: Number of augmented views per image that were encoded once; 0 if every step made new views.
        seconds: Duration of the training, without the encoding of views.
        design: Extra information needed to rebuild the network, in addition to the settings (JSON types), or None.
        scale: Scale at which the model sees images; None if the method itself decides this.
        backbone_sha256: SHA-256 of the frozen SAM; None for methods without SAM.
    """

    model: Model
    curve: Curve = field(default_factory=dict)
    steps: int = 0
    steps_before: int = 0
    views: int = 0
    seconds: float = 0.0
    design: Mapping[str, Any] | None = None
    scale: Scale | None = None
    backbone_sha256: str | None = None


class Trainer(Protocol):
    """Trains one method. Trainers can be pickled."""

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """Train to the end. After an interruption, a call with the same folder continues the training.

        Args:
            images: Training images, at least one.
            seed: Random seed.
            folder: Existing folder for checkpoints; the caller deletes it.
            device: Device, such as "cpu" or "cuda:0".
            terminal: Terminal that shows the progress. Default: no output.

        Raises:
            PtsamError: Training failed because of a setting or the environment.
        """


@dataclass(frozen=True)
class SamTrainer:
    """Trains any SAM-based method, in this process.

    Args:
        backbone: Frozen SAM.
        settings: Settings of method, recipe and augmentation.
        bank: Folder of the feature bank that trainings share; by default one inside the folder of each training.
        scale: Scale at which the models see images; by default it is computed from the training images.
        classes: Number of classes of the masks.
        start: Prompts at which each training begins; by default those of the settings.
    """

    backbone: Backbone
    settings: Settings
    bank: Path | None = None
    scale: Scale | None = None
    classes: int = 1
    start: Start | None = None

    def job(self, images: Sequence[Pair], seed: int) -> Job:
        """Return the job of training on these images."""
        return Job(self.backbone, self.settings, tuple(images), seed, self.scale, self.classes, self.start)

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """See `Trainer`."""
        return next(self.train_each([images], seed, [folder], device, terminal))

    def train_each(
        self,
        sets: Sequence[Sequence[Pair]],
        seed: int,
        folders: Sequence[Path],
        device: str,
        terminal: Terminal | None = None,
    ) -> Iterator[Trained]:
        """Train on each of several sets of images, together where that is faster; see `train_each`."""
        terminal = terminal or Terminal.silent()
        runs = [
            Run(self.job(images, seed), device, self.bank or folder / BANK)
            for images, folder in zip(sets, folders, strict=True)
        ]
        checkpoints = {run: folder / CHECKPOINT for run, folder in zip(runs, folders, strict=True)}
        for group in groups(runs):
            for run in group:
                run.resume(checkpoints[run])
                if run.curve:
                    terminal.say(f"Continuing after epoch {run.curve[-1].epoch} of {self.settings.recipe.epochs}.")
                with terminal.bar("Encoding") as update:
                    run.encode(update)
            with terminal.bar("Training") as update:
                done, total = sum(len(run.curve) for run in group), len(group) * self.settings.recipe.epochs
                update(done, total)
                for reports in epochs(group, checkpoints=[checkpoints[run] for run in group]):
                    done += len(reports)
                    update(done, total, f"loss {sum(report.loss for report in reports) / len(reports):.3f}")
            yield from map(trained, group)


def train_each(
    trainer: Trainer,
    sets: Sequence[Sequence[Pair]],
    seed: int,
    folders: Sequence[Path],
    device: str,
    terminal: Terminal | None = None,
) -> Iterator[Trained]:
    """Train on each of several sets of images, and yield the results in their order as soon as they are there.

    Prompt sets on one frozen SAM are trained together where that is faster, see `training.joint`; everything else is
    trained one after another. After an interruption, a call with the same folders continues.

    Args:
        trainer: Trainer of the method.
        sets: Training images of each training.
        seed: Random seed of all trainings.
        folders: Existing folder for the checkpoints of each training.
        device: Device, such as "cpu" or "cuda:0".
        terminal: Terminal that shows the progress. Default: no output.

    Raises:
        PtsamError: Training failed because of a setting or the environment.
    """
    if isinstance(trainer, SamTrainer):
        yield from trainer.train_each(sets, seed, folders, device, terminal)
        return
    for images, folder in zip(sets, folders, strict=True):
        yield trainer.train(images, seed, folder, device, terminal)


def trained(run: Run) -> Trained:
    """Return the result of a finished run."""
    recipe = run.job.settings.recipe
    views = recipe.views_drawn(len(run.job.pairs))
    return Trained(
        model=run.model.eval(),
        curve=columns(run.curve),
        steps=run.step,
        steps_before=run.job.start.steps if run.job.start else 0,
        views=views,
        seconds=run.seconds,
        scale=run.scale,
        backbone_sha256=run.job.backbone.sha256,
    )


def columns(reports: Sequence[EpochReport]) -> Curve:
    """Return the reports of our training loop as a learning curve."""
    rows = [asdict(report) for report in reports]
    return {name: [row[name] for row in rows] for name in rows[0] if name != "epoch"} if rows else {}


@dataclass(frozen=True)
class Untuned:
    """The SAM without any training, as a reference for the scores of a trained method.

    Args:
        backbone: Frozen SAM.
        settings: Settings of the trained method; only mask_token, tiles and scale are used.
    """

    backbone: Backbone
    settings: Settings

    def model(self, scale: Scale, device: str) -> PromptFreeSam:
        """Return the network, ready to predict at a scale."""
        sam, mask_token = self.backbone.sam.to(device), self.settings.method.mask_token
        return PromptFreeSam(sam, mask_token=mask_token, tiling=scale.tiling)

    def train(
        self,
        images: Sequence[Pair],
        seed: int,
        folder: Path,
        device: str,
        terminal: Terminal | None = None,
    ) -> Trained:
        """Compute the scale only; nothing is trained. See `Trainer`."""
        method = self.settings.method
        scale = scale_of(method.tiles, method.scale, images, self.backbone.sam.image_encoder.img_size)
        return Trained(self.model(scale, device), scale=scale, backbone_sha256=self.backbone.sha256)
