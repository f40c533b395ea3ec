"""Candidates that train in no time: a clock that only they advance, and models that are wrong where they are told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.portfolio.task import Candidate, Task
from ptsam_auto.registry import Plan
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.run import Start
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer, Trained
from tests.toys import pairs

EPOCHS = 1000
BRIGHT = 105  # the discs are brighter, everything else is darker


class Killed(Exception):
    """As when somebody presses Ctrl-C."""


@dataclass
class World:
    """What has happened.

    Args:
        now: Time, seconds.
        trained: Name, number of images and share of the steps of each training.
        starts: Prompts at which each training began, or None for those of the settings.
        killed_at: Number of trainings after which the process is killed.
        slowness: How many times as long everything takes as it was estimated.
        slow_from: Number of trainings after which it does.
    """

    now: float = 0.0
    trained: list[tuple[str, int, float]] = field(default_factory=list)
    starts: list[Start | None] = field(default_factory=list)
    killed_at: int | None = None
    slowness: float = 1.0
    slow_from: int = 0

    @property
    def clock(self):
        """Return what takes the place of the module `time`."""
        return SimpleNamespace(perf_counter=lambda: self.now)


@dataclass(frozen=True)
class FakeModel:
    """Finds the disc, with the probability that `sees` makes of the truth."""

    sees: Callable[[np.ndarray], np.ndarray]
    number: float = 0.0

    def probability(self, image):
        return self.sees(image[..., 0] > BRIGHT).astype(np.float32)

    def predict(self, image):
        return self.probability(image) > 0.5

    def trainable(self):
        return {"number": nn.Parameter(torch.tensor([self.number]))}


@dataclass(frozen=True)
class FakeTrainer(SamTrainer):
    """Takes `price` seconds for all steps."""

    name: str = ""
    price: float = 10.0
    epochs: int = EPOCHS
    sees: Callable[[np.ndarray], np.ndarray] = lambda truth: truth
    world: World = field(default_factory=World)

    def train_each(self, sets, seed, folders, device, terminal=None):
        for images in sets:
            if len(self.world.trained) == self.world.killed_at:
                raise Killed
            share = self.settings.recipe.epochs / self.epochs
            is_slow = len(self.world.trained) >= self.world.slow_from
            self.world.now += self.price * share * (self.world.slowness if is_slow else 1.0)
            self.world.trained.append((self.name, len(images), share))
            self.world.starts.append(self.start)
            if terminal:  # A choice that goes on shows a table of what there is so far.
                with terminal.bar("Training") as update:
                    update(1, 1)
            yield Trained(FakeModel(self.sees, float(len(self.world.trained))), steps=self.settings.recipe.epochs)


class FakeCost:
    """Knows the price."""

    def __init__(self, trainer, images, train, device, threads=None, speeds=None):
        self.price = self.per_image = trainer.price

    def cross_fit(self, folds, share, views_before=0, run=None):
        return (folds if run is None else run) * share * self.price

    def final(self, share, views_before):
        return share * self.price

    def views(self, share, images):
        return 2


def sees_all(truth):
    return np.where(truth, 0.9, 0.1)


def sees_left(truth):
    """Sure of the left half of what there is, and nearly blind in the other."""
    return _half(truth, left=True)


def sees_right(truth):
    return _half(truth, left=False)


def sees_most(truth):
    """Misses every fourth row."""
    seen = truth.copy()
    seen[::4] = False
    return np.where(seen, 0.9, 0.1)


def sees_least(truth):
    """Misses every second row."""
    seen = truth.copy()
    seen[::2] = False
    return np.where(seen, 0.9, 0.1)


def sees_nothing(truth):
    return np.full(truth.shape, 0.1)


def _half(truth, left):
    columns = np.flatnonzero(truth.any(axis=0))
    middle = int(np.median(columns)) if len(columns) else 0
    sure = truth.copy()
    sure[:, middle:] &= not left
    sure[:, :middle] &= left
    return np.where(sure, 0.9, np.where(truth, 0.4, 0.1))


def candidate(backbone, world, name, sees=sees_all, price=10.0, learning_rate=0.05, epochs=EPOCHS):
    recipe = Recipe(epochs=epochs, steps_per_epoch=1, batch_size=1, views=0, learning_rate=learning_rate)
    settings = Settings(method=PTSAMConfig(), recipe=recipe)
    trainer = FakeTrainer(backbone, settings, name=name, price=price, epochs=epochs, sees=sees, world=world)
    config = {"method": {"name": "ptsam"}, "recipe": {"learning_rate": learning_rate}}
    return Candidate(name, Plan(trainer, "decoder", config, {}), backbone)


def task(folder, seconds=None, images=8, folds=((0, 4), (1, 5), (2, 6), (3, 7)), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    return Task(tuple(pairs(images)), tuple(pairs(images)), folds, seed, folder, "cpu", seconds)


def with_world(candidates, world):
    """The same candidates in another process."""
    return [replace(one, plan=replace(one.plan, trainer=replace(one.plan.trainer, world=world))) for one in candidates]
