"""The training loop that every SAM method shares. Whoever consumes it may print, prune, save or stop."""

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
from ptsam_auto.training.team import ALONE, Team
from ptsam_auto.training.views import Batch, Views


@dataclass
class Training:
    """A run in progress; all that changes from step to step.

    Args:
        model: what it requires a gradient for is trained.
        optimiser: over exactly those tensors.
        step: steps done.
    """

    model: PromptFreeSam
    optimiser: torch.optim.AdamW
    step: int = 0


@dataclass(frozen=True)
class EpochReport:
    """What an epoch brought.

    Args:
        epoch: counted from 1.
        step: steps done since the start.
        loss: mean over the epoch's steps, as are its parts.
        cross_entropy: nats a pixel.
        dice: the Dice loss, 0 to 1.
        learning_rate: of the epoch's last step.
        seconds: that the epoch took.
    """

    epoch: int
    step: int
    loss: float
    cross_entropy: float
    dice: float
    learning_rate: float
    seconds: float


def start(model: PromptFreeSam, recipe: Recipe) -> Training:
    """A run at step 0."""
    parameters = list(model.trainable().values())
    return Training(model, torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay))


def epochs(training: Training, views: Views, recipe: Recipe, team: Team = ALONE) -> Iterator[EpochReport]:
    """Train from where the run stands to the recipe's end, and report after every epoch.

    Args:
        training: the same in every worker of the team.
        views: this worker's share of every batch.
        recipe: its batch is that of the whole team.
        team: those who take each step together; every one of them has to consume its reports.

    Raises:
        PtsamError: the loss is no longer a number.
    """
    while training.step < recipe.steps:
        began = time.perf_counter()
        losses = []
        for _ in range(recipe.steps_per_epoch - training.step % recipe.steps_per_epoch):
            losses.append(_step(training, views.draw(training.step), recipe, team))
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


def _step(training: Training, batch: Batch, recipe: Recipe, team: Team) -> tuple[float, float, float]:
    for group in training.optimiser.param_groups:
        group["lr"] = recipe.learning_rate_at(training.step)
    loss = _loss(training.model.decode(batch.features_B256GG), batch, recipe, team)
    total = loss.total.item()
    if not math.isfinite(total):
        raise PtsamError(
            f"The loss is {total} at step {training.step}; training cannot go on. "
            f"Lower recipe.learning_rate (now {recipe.learning_rate}) and fit again."
        )
    training.optimiser.zero_grad()
    loss.total.backward()
    team.sum_gradients(training.model.trainable().values())
    training.optimiser.step()
    training.step += 1
    return total, loss.cross_entropy.item(), loss.dice.item()


def _loss(logits: Tensor, batch: Batch, recipe: Recipe, team: Team) -> Loss:
    target, inside = batch.target_BSS, batch.inside_BSS
    if recipe.loss_size == "input":
        logits = F.interpolate(logits[:, None], target.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    else:
        shrink = target.shape[-1] // logits.shape[-1]
        target, inside = F.avg_pool2d(target, shrink), F.avg_pool2d(inside, shrink)
    return segmentation_loss(logits, target, inside, recipe.cross_entropy_weight, team)
