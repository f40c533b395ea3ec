"""The interface of all trainers, and the trainer of the SAM-based methods."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.model import Model
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.loop import EpochReport
from ptsam_auto.training.run import Job, Run
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
        views: Number of augmented views per image that were encoded once; 0 if every step made new views.
        seconds: Duration of the training, without the encoding of views.
        design: Extra information needed to rebuild the network, in addition to the settings (JSON types), or None.
        scale: Scale at which the model sees images; None if the method itself decides this.
        backbone_sha256: SHA-256 of the frozen SAM; None for methods without SAM.
    """

    model: Model
    curve: Curve = field(default_factory=dict)
    steps: int = 0
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
    """

    backbone: Backbone
    settings: Settings
    bank: Path | None = None

    def job(self, images: Sequence[Pair], seed: int) -> Job:
        """Return the job of training on these images."""
        return Job(self.backbone, self.settings, tuple(images), seed)

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """See `Trainer`."""
        terminal = terminal or Terminal.silent()
        run = Run(self.job(images, seed), device, self.bank or folder / BANK)
        checkpoint, epochs = folder / CHECKPOINT, self.settings.recipe.epochs
        run.resume(checkpoint)
        if run.curve:
            terminal.say(f"Continuing after epoch {run.curve[-1].epoch} of {epochs}.")
        with terminal.bar("Encoding") as update:
            run.encode(update)
        with terminal.bar("Training") as update:
            update(len(run.curve), epochs)
            for report in run.epochs(checkpoint=checkpoint):
                update(report.epoch, epochs, f"loss {report.loss:.3f}")
        return trained(run)


def trained(run: Run) -> Trained:
    """Return the result of a finished run."""
    recipe = run.job.settings.recipe
    views = recipe.views_drawn(len(run.job.pairs))
    return Trained(
        model=run.model.eval(),
        curve=columns(run.curve),
        steps=run.step,
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
