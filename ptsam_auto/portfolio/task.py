"""What is chosen among: the candidates, and the images, folds and budget with which they are tried."""

# K folds

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data.dataset import Pair
from ptsam_auto.experiment.fold_runner import IN_THIS_PROCESS, FoldRunner
from ptsam_auto.portfolio.members import FEWEST_STEPS, Doubling
from ptsam_auto.registry import Plan
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.training.trainer import SamTrainer, Trainer


@dataclass(frozen=True)
class Candidate:
    """A member of the portfolio that can be tried on this machine.

    Args:
        name: Name of the member.
        plan: Trainer and settings.
        backbone: Loaded backbone, or None for methods without SAM.
        distributed: Function that returns the same trainer with several workers, for the training on all images; by
            default with one.
        doubling: What more steps are worth, or None if that is not known.
        fewest_steps: Number of steps that a first look at it has at least.
    """

    name: str
    plan: Plan
    backbone: Backbone | None
    distributed: Callable[[SamTrainer], Trainer] = lambda trainer: trainer
    doubling: Doubling | None = None
    fewest_steps: int = FEWEST_STEPS


@dataclass(frozen=True)
class Task:
    """The images, and where and how they are cross-fitted.

    Args:
        pairs: Annotated images that are cross-fitted.
        train: All annotated images, for the training of what was chosen; `pairs` are among them.
        folds: Indices of the pairs of each fold; see `data.split.cross_folds`. One fold or none: no cross-fitting.
        seed: Random seed.
        folder: Folder for everything that is kept until the end.
        device: Device, such as "cpu" or "cuda:0".
        seconds: Budget of time, or None for no limit.
        runner: How the folds are run; a runner that is not worth its start is not used.
        classes: Number of classes of the masks.
    """

    pairs: tuple[Pair, ...]
    train: tuple[Pair, ...]
    folds: tuple[tuple[int, ...], ...]
    seed: int
    folder: Path
    device: str
    seconds: float | None
    runner: FoldRunner = IN_THIS_PROCESS
    classes: int = 1

    @property
    def bank(self) -> Path:
        """Return the folder of encoded images that all trainings share."""
        return self.folder / "bank"


@dataclass(frozen=True)
class Trial:
    """A cross-fit of a candidate.

    Args:
        candidate: Index of the candidate.
        share: Fraction of its steps.
        folds: Number of folds that are run, the first ones.
    """

    candidate: int
    share: float
    folds: int
