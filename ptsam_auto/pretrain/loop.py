"""The run as an iterator: whoever consumes it may print, save, probe or stop."""

from collections.abc import Iterator
from dataclasses import dataclass

from ptsam_auto.pretrain.batches import Steps, batches
from ptsam_auto.pretrain.learner import Learner
from ptsam_auto.pretrain.sources import Source
from ptsam_auto.pretrain.tasks import Asked


@dataclass(frozen=True)
class StepReport:
    """One step.

    Args:
        step: steps done, this one included.
        size: px.
        loss: of this step's batch.
        iou: by what was asked, this batch's mean IoU, 0 to 1.
        quality_error: mean squared error of the predicted IoU.
        detail_error: share of fine detail that cannot be read off the features.
        learning_rate: in this step.
        gradient_norm: before clipping.
        progress: through the whole run when this step began, 0 to 1.
    """

    step: int
    size: int
    loss: float
    iou: dict[Asked, float]
    quality_error: float
    detail_error: float
    learning_rate: float
    gradient_norm: float
    progress: float


def steps(
    learner: Learner, source: Source, seed: int, workers: int = 0, seconds: float | None = None
) -> Iterator[StepReport]:
    """Train until the plan ends; the learner is up to date whenever a report is yielded.

    Args:
        learner: new, or restored from a checkpoint: it goes on where it stopped.
        source: of images.
        seed: of views and tasks.
        workers: processes that draw batches ahead; the batches are the same with any number.
        seconds: most training time. Where the plan would take longer, the learning rate follows the clock instead of
            the step and has decayed when time is up; the run then depends on the machine's speed too.

    Yields:
        One report a step.
    """
    plan = learner.recipe
    while learner.step < plan.steps:
        stage, end = plan.stage_at(learner.step)
        learner.resize(stage.size)
        for batch in batches(Steps(source, seed, stage.batch, stage.size), learner.step, end, workers):
            progress = learner.step / plan.steps
            if seconds is not None:
                progress = max(progress, learner.seconds / seconds)
            if progress >= 1:
                return
            judged, rate, norm = learner.learn(batch, progress)
            yield StepReport(
                learner.step,
                stage.size,
                float(judged.loss.detach()),
                judged.iou,
                judged.quality_error,
                judged.detail_error,
                rate,
                norm,
                progress,
            )
