"""The training loop of the SAM-based methods, a generator of reports. The caller can print, prune, save or stop."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptsam_auto.errors import PtsamError
from ptsam_auto.methods.prompt_free import PromptFreeSam
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
class EpochReport:
    """Results of one epoch.

    Args:
        epoch: Number of the epoch, counted from 1.
        step: Number of steps done since the start.
        loss: Mean loss over the steps of the epoch; `cross_entropy` and `dice` are such means too.
        cross_entropy: Cross-entropy per pixel, in nats.
        dice: Dice loss, 0 to 1.
        learning_rate: Learning rate of the last step of the epoch.
        seconds: Duration of the epoch.
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
    while training.step < recipe.steps:
        began = time.perf_counter()
        losses = []
        for _ in range(recipe.steps_per_epoch - training.step % recipe.steps_per_epoch):
            losses.append(_step(training, views.draw(training.step), recipe, group))
        total, cross_entropy, dice = torch.tensor(losses).mean(dim=0).tolist()
        yield EpochReport(
            epoch=training.step // recipe.steps_per_epoch,
            step=training.step,
            loss=total,
            cross_entropy=cross_entropy,
            dice=dice,
            learning_rate=recipe.learning_rate_at(training.step - 1),
            seconds=time.perf_counter() - began,
        )


def _step(training: Training, batch: Batch, recipe: Recipe, group: WorkerGroup) -> tuple[float, float, float]:
    for parameters in training.optimiser.param_groups:
        parameters["lr"] = recipe.learning_rate_at(training.step)
    loss = _loss(training.model.decode(batch.features_B256GG), batch, recipe, group)
    total = loss.total.item()
    if not math.isfinite(total):
        raise PtsamError(
            f"The loss is {total} at step {training.step}; training cannot continue. "
            f"Lower recipe.learning_rate (now {recipe.learning_rate}) and fit again."
        )
    training.optimiser.zero_grad()
    loss.total.backward()
    group.sum_gradients(training.model.trainable().values())
    training.optimiser.step()
    training.step += 1
    return total, loss.cross_entropy.item(), loss.dice.item()


def _loss(logits: Tensor, batch: Batch, recipe: Recipe, group: WorkerGroup) -> Loss:
    target, inside = batch.target_BSS, batch.inside_BSS
    if recipe.loss_size == "input":
        logits = F.interpolate(logits[:, None], target.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    else:
        shrink = target.shape[-1] // logits.shape[-1]
        target, inside = F.avg_pool2d(target, shrink), F.avg_pool2d(inside, shrink)
    return segmentation_loss(logits, target, inside, recipe.cross_entropy_weight, group)
