"""Training settings: number of steps, learning rate, loss and views, with the paper's defaults (Sec. 4.1.3)."""

import math
from dataclasses import dataclass

from ptsam_auto.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Settings of a training; all SAM-based methods train with the same ones, as in the paper.

    Args:
        learning_rate: Initial learning rate of AdamW (0.05 with a frozen encoder, 0.01 with a tuned one).
        epochs: Number of epochs, each of steps_per_epoch steps, whatever the number of images (1,000).
        steps_per_epoch: Optimiser steps between two reports (20).
        batch_size: Images per step (2), over all workers together.
        warmup_steps: Steps over which the learning rate rises linearly; 0 is the paper's plain cosine annealing.
        weight_decay: Weight decay of AdamW. The paper gives no value; 0.01 is the default of AdamW.
        cross_entropy_weight: Weight of the cross-entropy in the loss (0.2); the weight of Dice is 1 minus this (0.8).
        loss_size: Resolution of the loss: "decoder" is that of the mask decoder (in SAM a quarter of the input's),
            "input" is that of the network's input. The paper does not say which.
        views: Number of augmented views per training image that are encoded once and used in rotation. 0 makes new
            views in every step, as the paper does, and is the only choice if the encoder is tuned.
        activation_checkpointing: Whether each block of a tuned encoder is computed again in the backward pass. A step
            needs less memory and takes longer; the results are the same.

    Raises:
        ConfigError: A value is outside its range.
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
    activation_checkpointing: bool = False

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
        """Return the total number of optimiser steps."""
        return self.epochs * self.steps_per_epoch

    def views_drawn(self, images: int) -> int:
        """Return the number of views per image that a bank needs for a number of training images.

        It is never more than the number of times that an image is used.
        """
        return min(self.views, -(-self.steps * self.batch_size // images))

    def images_drawn(self, images: int) -> int:
        """Return how many of the training images are used; with few steps it is not all of them."""
        return min(images, self.steps * self.batch_size)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate at a step: linear warm-up, then cosine annealing to 0.

        It depends on the step alone, so there is no scheduler state to save.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
