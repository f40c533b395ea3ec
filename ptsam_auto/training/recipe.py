"""How long, how fast and on what: the paper's training (Sec. 4.1.3) as defaults. Knows no torch."""

import math
from dataclasses import dataclass

from ptsam_auto.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """One training run; every SAM method shares it, that is the paper's control.

    Args:
        learning_rate: AdamW's, at the start (0.05 with a frozen encoder, 0.01 with a tuned one).
        epochs: of steps_per_epoch steps each, whatever the number of images (1,000).
        steps_per_epoch: optimiser steps between two reports (20).
        batch_size: images a step (2), over all workers together.
        warmup_steps: steps over which the learning rate rises linearly; 0 is the paper's plain cosine annealing.
        weight_decay: AdamW's; the paper is silent, 0.01 is AdamW's own default.
        cross_entropy_weight: of the loss (0.2); Dice has the rest (0.8).
        loss_size: where the loss is taken: "decoder", the mask decoder's own quarter resolution, or "input", the
            network's full one. The paper is silent.
        views: augmented views encoded once for each training image, and drawn from in turn. 0 draws a fresh view at
            every step, as the paper does, and is the only choice while the encoder is tuned.

    Raises:
        ConfigError: a value outside its range.
    """

    learning_rate: float = 0.05
    epochs: int = 1000
    steps_per_epoch: int = 20
    batch_size: int = 2
    warmup_steps: int = 0
    weight_decay: float = 0.01
    cross_entropy_weight: float = 0.2
    loss_size: str = "decoder"
    views: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"recipe.{name} is {getattr(self, name)}; expected at least 1.")
        for name in ("warmup_steps", "weight_decay", "views"):
            if getattr(self, name) < 0:
                raise ConfigError(f"recipe.{name} is {getattr(self, name)}; expected 0 or more.")
        if not self.learning_rate > 0:
            raise ConfigError(f"recipe.learning_rate is {self.learning_rate}; expected a number above 0.")
        if not 0 <= self.cross_entropy_weight <= 1:
            raise ConfigError(f"recipe.cross_entropy_weight is {self.cross_entropy_weight}; expected 0 to 1.")
        if self.loss_size not in ("decoder", "input"):
            raise ConfigError(f'recipe.loss_size is "{self.loss_size}"; expected "decoder" or "input".')

    @property
    def steps(self) -> int:
        """Optimiser steps altogether."""
        return self.epochs * self.steps_per_epoch

    def views_drawn(self, images: int) -> int:
        """Views of each of `images` training images that a bank has to hold: more than it has turns are never seen."""
        return min(self.views, -(-self.steps * self.batch_size // images))

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then cosine annealing to 0; a function of the step alone, so resuming needs no schedule."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
