"""The data that all trainings of an experiment share, and `FoldRun`: the training and evaluation of one fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.experiment.folds import Fold
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.specialist.scores import Scores
from ptsam_auto.training.joint import groups
from ptsam_auto.training.run import Job, Run, epochs
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass(frozen=True)
class Workspace:
    """Data that all trainings of an experiment share; it is sent to every worker.

    Args:
        backbone: The frozen SAM.
        folder: Folder of the experiment, on a disk that all workers can access.
        threads: Number of CPU threads per training.
        device: Device, such as "cpu" or "cuda:0".
    """

    backbone: Backbone
    folder: Path
    threads: int
    device: str

    @property
    def bank(self) -> Path:
        """Return the folder of encoded images that the trainings share."""
        return self.folder / "bank"


class FoldRun:
    """The training of one fold, with its checkpoint and its held-out images.

    Args:
        fold: Training images and held-out images.
        settings: All settings of the training.
        workspace: Data that it shares with other trainings.
        folder: Folder of the checkpoint; it is created if it is missing.
        group: The workers that train it together.
    """

    def __init__(
        self,
        fold: Fold,
        settings: Settings,
        workspace: Workspace,
        folder: Path,
        group: WorkerGroup = SINGLE_WORKER,
    ) -> None:
        self.fold = fold
        job = Job(workspace.backbone, settings, fold.train, fold.seed, classes=fold.classes)
        self.run = Run(job, workspace.device, workspace.bank, group)
        self._held_out = HeldOut(workspace.bank, workspace.backbone.sha256, fold.held_out)
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / f"{fold.name.replace('/', '-')}.safetensors"
        self.run.resume(self.checkpoint)

    def encode(self) -> int:
        """Encode the views and images that the bank lacks. Return the number of views and tiles encoded here."""
        return self._held_out.encode(self.run.model) + self.run.encode()

    def scores(self) -> Scores:
        """Return the scores of the current model on the held-out images."""
        return self._held_out.scores(self.run.model)


def train(fold_runs: Sequence[FoldRun], until: int) -> None:
    """Train each fold until this number of epochs is done, together where that is faster; see `training.joint`.

    Raises:
        PtsamError: A loss is NaN or infinite.
    """
    checkpoints = {fold_run.run: fold_run.checkpoint for fold_run in fold_runs}
    for group in groups(list(checkpoints)):
        for _ in epochs(group, until, [checkpoints[run] for run in group]):
            pass
