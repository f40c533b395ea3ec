"""One complete training. It is used by `fit`, by each of several workers, and for each fold of a trial of a search.

`epochs()` is a generator: after each epoch the caller can print, report, stop, or continue later.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from safetensors.torch import load

from ptsam_auto.adapt.learned import learned_prompts
from ptsam_auto.data.dataset import Pair
from ptsam_auto.files import json_sha256
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.ptsam import PTSAMConfig, begin_at
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.training import loop, resume
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.loop import EpochReport, Trainee
from ptsam_auto.training.scale import Scale, scale_of
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.views import ViewSampler
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass(frozen=True)
class Start:
    """Prompts at which a training begins, instead of at those of its settings.

    Args:
        learned: Content of a safetensors file with the prompts by name.
        steps: Number of optimiser steps with which they were learned.
    """

    learned: bytes
    steps: int


@dataclass(frozen=True)
class Job:
    """Everything that determines the result of a training, except for the device.

    Args:
        backbone: Frozen SAM; another process loads its own copy from disk.
        settings: Settings of method, recipe and augmentation; the batch size is that of all workers together.
        pairs: Training images, in a fixed order.
        seed: Random seed for the initial parameters, the order of the images and the views.
        scale: Scale at which the model sees images, or None to compute it from the training images.
        classes: Number of classes of the masks.
        start: Prompts at which it begins, or None for those of the settings.
    """

    backbone: Backbone
    settings: Settings
    pairs: tuple[Pair, ...]
    seed: int
    scale: Scale | None = None
    classes: int = 1
    start: Start | None = None

    @property
    def key(self) -> str:
        """Return the identifier of the job, which includes the version of this package.

        A checkpoint is continued only if its key is the same.
        """
        return json_sha256(
            {
                "backbone": self.backbone.sha256,
                "settings": asdict(self.settings),
                "train": [pair.digest for pair in self.pairs],
                "seed": self.seed,
                "scale": asdict(self.scale) if self.scale else None,
                "classes": self.classes,
                "start": sha256(self.start.learned).hexdigest() if self.start else None,
                "version": version("ptsam-auto"),
            }
        )


class Run:
    """A training in progress.

    Args:
        job: Job to train.
        device: Device, such as "cpu" or "cuda:0".
        bank: Folder of the feature bank, which several runs can share. It is not used if recipe.views is 0.
        group: Workers that take each step together; each of them must iterate over `epochs`.

    Attributes:
        group: Workers that take each step together.
        model: Model that is trained.
        scale: Scale at which the model sees images.
        curve: Reports of the epochs done.
        step: Number of optimiser steps done.
    """

    def __init__(self, job: Job, device: str, bank: Path, group: WorkerGroup = SINGLE_WORKER) -> None:
        recipe = job.settings.recipe
        group.check(recipe.batch_size)
        self.job = job
        sam, method = job.backbone.sam.to(device), job.settings.method
        self.scale = job.scale or scale_of(method.tiles, method.scale, job.pairs, sam.image_encoder.img_size)
        self.model = sam_methods.build(sam, method, job.seed, self.scale.tiling, job.classes)
        if job.start is not None:
            begin_at(self.model, load(job.start.learned))
        elif isinstance(method, PTSAMConfig) and method.initial_prompts == "scenes":
            begin_at(self.model, learned_prompts(job.backbone))
        self.model.activation_checkpointing = recipe.activation_checkpointing
        self.curve: list[EpochReport] = []
        self._training = loop.start(self.model, recipe)
        self.group = group
        sampler = ViewSampler.of(job.pairs, job.settings, job.seed, group)
        self._views = views_for(self.model, job.backbone.sha256, sampler, recipe, bank)

    @property
    def step(self) -> int:
        """Return the number of optimiser steps done."""
        return self._training.step

    @property
    def encoded_views(self) -> int:
        """Return the number of views that `encode` encodes if the bank has none; 0 without a bank."""
        return self._views.encoded_views

    @property
    def seconds(self) -> float:
        """Return the time spent in training steps, without encoding."""
        return sum(report.seconds for report in self.curve)

    def resume(self, checkpoint: Path) -> None:
        """Load a checkpoint of the same job. A missing file, or one of another job, is ignored."""
        self.curve = resume.load(checkpoint, self._training, self.job.key)

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint. Call this between two epochs only."""
        resume.save(checkpoint, self._training, self.curve, self.job.key)

    def encode(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Encode the views that are not in the bank yet; return the number of views this process encoded.

        Args:
            progress: Function that is called with (views in the bank, total views).
        """
        return self._views.prepare(progress)

    def epochs(self, until: int | None = None, checkpoint: Path | None = None) -> Iterator[EpochReport]:
        """Train from the current epoch, and yield a report after each epoch.

        Args:
            until: Number of epochs after which to stop; by default that of the recipe.
            checkpoint: File that is replaced after each epoch, before the report. Only the worker of rank 0 writes it.

        Raises:
            PtsamError: The loss is NaN or infinite.
        """
        for reports in epochs([self], until, [checkpoint]):
            yield from reports

    def last_epoch(self, until: int | None = None) -> int:
        """Return the number of epochs after which training stops: that of the recipe, or `until` if it is smaller."""
        epochs = self.job.settings.recipe.epochs
        return epochs if until is None else min(until, epochs)

    @property
    def trainee(self) -> Trainee:
        """Return what the training loop needs of this run."""
        return Trainee(self._training, self._views, self.job.settings.recipe)


def epochs(
    runs: Sequence[Run], until: int | None = None, checkpoints: Sequence[Path | None] | None = None
) -> Iterator[list[EpochReport]]:
    """Train several runs, each from its current epoch, and yield the reports of each epoch.

    Their steps are taken together, see `loop.epoch`. A run that is at its end has no more reports; the others go on.

    Args:
        runs: Runs in this process; a run on several workers must be alone.
        until: Number of epochs after which each stops; by default that of its recipe.
        checkpoints: File for each run that is replaced after each of its epochs, before the reports. Only the worker of
            rank 0 writes it.

    Raises:
        PtsamError: A loss is NaN or infinite.
    """
    files = dict(zip(runs, checkpoints or [None] * len(runs), strict=True))
    ongoing = [run for run in runs if len(run.curve) < run.last_epoch(until)]
    for run in ongoing:
        run.encode()
    while ongoing:
        reports = loop.epoch([run.trainee for run in ongoing], runs[0].group)
        for run, report in zip(ongoing, reports, strict=True):
            run.curve.append(report)
            checkpoint = files[run]
            if checkpoint is not None and run.group.rank == 0:
                run.save(checkpoint)
        yield reports
        ongoing = [run for run in ongoing if len(run.curve) < run.last_epoch(until)]
