"""The training loop, a generator of reports. The caller can print, save, measure or stop after every step."""

from collections.abc import Iterator
from dataclasses import dataclass

from nano.batches import StepBatches, batches
from nano.learner import Learner
from nano.sources import Source
from nano.tasks import PromptType


@dataclass(frozen=True)
class StepReport:
    """Results of one step.

    Args:
        step: Number of steps done, including this one.
        size: Input size, px.
        loss: Loss of the batch.
        iou: Mean IoU of the batch by prompt type, 0 to 1.
        quality_error: Mean squared error of the predicted IoU.
        detail_error: Detail error, see `AuxiliaryHeads.detail_error`.
        learning_rate: Learning rate of this step.
        gradient_norm: Norm of the gradient before clipping.
        progress: Fraction of the run that was done before this step, 0 to 1.
    """

    step: int
    size: int
    loss: float
    iou: dict[PromptType, float]
    quality_error: float
    detail_error: float
    learning_rate: float
    gradient_norm: float
    progress: float


def steps(
    learner: Learner, source: Source, seed: int, workers: int = 0, seconds: float | None = None
) -> Iterator[StepReport]:
    """Train to the end of the recipe; the state of the learner is complete whenever a report is yielded.

    Args:
        learner: New learner, or one that was restored from a checkpoint.
        source: Source of images.
        seed: Random seed for views and tasks.
        workers: Number of processes that draw batches in advance; the batches are the same with any number.
        seconds: Maximum training time. If the recipe would take longer, the learning rate decays by time instead of
            steps, and the result also depends on the speed of the machine.

    Yields:
        One report for each step.
    """
    recipe = learner.recipe
    while learner.step < recipe.steps:
        stage, end = recipe.stage_at(learner.step)
        learner.resize(stage.size)
        for batch in batches(StepBatches(source, seed, stage.batch, stage.size), learner.step, end, workers):
            progress = learner.step / recipe.steps
            if seconds is not None:
                progress = max(progress, learner.seconds / seconds)
            if progress >= 1:
                return
            loss, rate, norm = learner.train_step(batch, progress)
            yield StepReport(
                learner.step,
                stage.size,
                float(loss.loss.detach()),
                loss.iou,
                loss.quality_error,
                loss.detail_error,
                rate,
                norm,
                progress,
            )
