"""The training loop of the SAM-based methods. Several trainings can take their steps together.

`epochs` is a generator of reports; the caller can print, prune, save or stop.
"""

# T steps of an epoch

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.errors import PtsamError
from ptsam_auto.methods.prompt_free import PromptFreeSam, decode_together
from ptsam_auto.training.loss import Loss, segmentation_loss
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import Batch, Views
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass
class Training:
    """State of a training: everything that changes from step to step.

    Args:
        model: Model; its parameters that require a gradient are trained.
        optimiser: Optimiser of exactly these parameters.
        step: Number of steps done.
    """

    model: PromptFreeSam
    optimiser: torch.optim.AdamW
    step: int = 0


@dataclass(frozen=True)
class Trainee:
    """One of the trainings that take their steps together.

    Args:
        training: State of the training.
        views: Source of its batches.
        recipe: Its training settings; batch_size counts the images of all workers.
    """

    training: Training
    views: Views
    recipe: Recipe

    @property
    def steps_left(self) -> int:
        """Return the number of steps to the end of the current epoch."""
        return self.recipe.steps_per_epoch - self.training.step % self.recipe.steps_per_epoch


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch.

    Args:
        epoch: Number of the epoch, counted from 1.
        step: Number of steps done since the start.
        loss: Mean loss over the steps of the epoch; `cross_entropy` and `dice` are such means too.
        cross_entropy: Cross-entropy per pixel, in nats.
        dice: Dice loss, 0 to 1.
        learning_rate: Learning rate of the last step of the epoch.
        seconds: Duration of the epoch; of steps taken together it is this training's share, by the number of images.
    """

    epoch: int
    step: int
    loss: float
    cross_entropy: float
    dice: float
    learning_rate: float
    seconds: float


def start(model: PromptFreeSam, recipe: Recipe) -> Training:
    """Return the state of a new training, at step 0."""
    parameters = list(model.trainable().values())
    return Training(model, torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay))


def epochs(
    training: Training, views: Views, recipe: Recipe, group: WorkerGroup = SINGLE_WORKER
) -> Iterator[EpochReport]:
    """Train from the current step to the last step of the recipe, and yield a report after every epoch.

    Args:
        training: State of the training, the same in every worker of the group.
        views: Source of this worker's share of every batch.
        recipe: Training settings; batch_size counts the images of the whole group.
        group: Workers that take each step together; each of them must iterate over all its reports.

    Raises:
        PtsamError: The loss is NaN or infinite.
    """
    trainee = Trainee(training, views, recipe)
    while training.step < recipe.steps:
        yield epoch([trainee], group)[0]


def epoch(trainees: Sequence[Trainee], group: WorkerGroup = SINGLE_WORKER) -> list[EpochReport]:
    """Train each trainee to the end of its current epoch, and return its report.

    Trainees that share a frozen decoder take one pass through it in each step; each has its own images, loss, gradient
    and optimiser, so its results are those of a training alone, up to rounding.

    Args:
        trainees: Trainings, none of them at its end.
        group: Workers that take each step together; with several workers there is one trainee.

    Raises:
        PtsamError: A loss is NaN or infinite.
    """
    losses: list[list[Loss]] = [[] for _ in trainees]
    began = time.perf_counter()
    images_seen = [0] * len(trainees)
    left = [trainee.steps_left for trainee in trainees]
    for done in range(max(left)):
        ongoing = [index for index, steps in enumerate(left) if done < steps]
        for index, loss in zip(ongoing, _step([trainees[index] for index in ongoing], group), strict=True):
            losses[index].append(loss)
            images_seen[index] += trainees[index].recipe.batch_size
    # A GPU works asynchronously: we wait for its results here, once in an epoch.
    values = [torch.stack([torch.stack([loss.total, loss.cross_entropy, loss.dice]) for loss in own]) for own in losses]
    on_cpu = [own.cpu() for own in values]
    spent = time.perf_counter() - began
    seconds = [spent * own / sum(images_seen) for own in images_seen]
    return [_report(*of_one) for of_one in zip(trainees, on_cpu, seconds, strict=True)]


def _report(trainee: Trainee, losses_T3: Tensor, seconds: float) -> EpochReport:
    step, recipe = trainee.training.step, trainee.recipe
    finite = losses_T3[:, 0].isfinite()
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise PtsamError(
            f"The loss is {losses_T3[first, 0]} at step {step - len(losses_T3) + first}; training cannot continue. "
            f"Lower recipe.learning_rate (now {recipe.learning_rate}) and fit again."
        )
    total, cross_entropy, dice = losses_T3.mean(dim=0).tolist()
    return EpochReport(
        epoch=step // recipe.steps_per_epoch,
        step=step,
        loss=total,
        cross_entropy=cross_entropy,
        dice=dice,
        learning_rate=recipe.learning_rate_at(step - 1),
        seconds=seconds,
    )


def _step(trainees: Sequence[Trainee], group: WorkerGroup) -> list[Loss]:
    """Take one step of each trainee; return the losses before it, without their graph."""
    batches = [trainee.views.draw(trainee.training.step) for trainee in trainees]
    logits = decode_together(
        [trainee.training.model for trainee in trainees], [batch.features_B256GG for batch in batches]
    )
    losses = [
        _loss(own, batch, trainee.recipe, group) for trainee, own, batch in zip(trainees, logits, batches, strict=True)
    ]
    for trainee in trainees:
        trainee.training.optimiser.zero_grad()
    # No loss depends on the parameters of another trainee, so one backward pass gives each its own gradient.
    torch.autograd.backward([loss.total for loss in losses])
    for trainee in trainees:
        training = trainee.training
        for parameters in training.optimiser.param_groups:
            parameters["lr"] = trainee.recipe.learning_rate_at(training.step)
        group.sum_gradients(training.model.trainable().values())
        training.optimiser.step()
        training.step += 1
    return [loss.detached() for loss in losses]


def _loss(logits: Tensor, batch: Batch, recipe: Recipe, group: WorkerGroup) -> Loss:
    target, inside = batch.target_BSS, batch.inside_BSS
    if recipe.loss_size == "input":
        by_class = logits if logits.dim() == 4 else logits[:, None]
        larger = F.interpolate(by_class, target.shape[-2:], mode="bilinear", align_corners=False)
        logits = larger if logits.dim() == 4 else larger[:, 0]
    else:
        shrink = target.shape[-1] // logits.shape[-1]
        target, inside = F.avg_pool2d(target, shrink), F.avg_pool2d(inside, shrink)
    return segmentation_loss(logits, target, inside, recipe.cross_entropy_weight, group)
