"""The recipe of a run: stages, learning rate and weights of the loss. All of them depend only on the step."""

import math
from dataclasses import dataclass

from ptsam_auto.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """A part of training at one resolution.

    Args:
        size: S, input size, px, a multiple of 128 (windows of 8 patches of 16 px).
        batch: Number of images per step.
        steps: Number of steps.
        peak: Learning rate before its decay.
    """

    size: int
    batch: int
    steps: int
    peak: float


@dataclass(frozen=True)
class Recipe:
    """Settings of nano's training. The optimiser is AdamW, as in SAM (Kirillov et al. 2023, Sec. A).

    Args:
        stages: Stages in order; usually the resolution increases.
        warm_up: Number of steps until the learning rate has reached its peak.
        constant: Fraction of all steps before the learning rate decays to zero by cosine annealing.
        balance: Weight of the balanced cross-entropy in the first half of the run; in the second half it falls to 0.
        detail: Weight of the detail error, see `AuxiliaryHeads`.
        betas: Betas of AdamW.
        decay: Weight decay of AdamW, for matrices only.
        clip: Maximum norm of the gradient.
        averaging: Fraction of the old average that a step keeps (EMA); it rises from 0.1 in the first steps.
        bfloat16: Whether matrices are multiplied in bfloat16; weights, their moments and losses are float32.
    """

    stages: tuple[Stage, ...]
    warm_up: int = 150
    constant: float = 0.4
    balance: float = 0.3
    detail: float = 0.5
    betas: tuple[float, float] = (0.9, 0.98)
    decay: float = 0.05
    clip: float = 1.0
    averaging: float = 0.998
    bfloat16: bool = True

    @property
    def steps(self) -> int:
        """Return the total number of steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest(self) -> int:
        """Return the size of the largest stage, px; weights are measured and exported at this size."""
        return max(stage.size for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """Return the stage of a step, and the step at which this stage ends."""
        end = 0
        for stage in self.stages:
            end += stage.steps
            if step < end:
                return stage, end
        raise IndexError(f"the recipe has {end} steps; there is no step {step}")

    def learning_rate(self, step: int, progress: float) -> float:
        """Return the learning rate at a step; `progress` is the fraction of the run that is done, 0 to 1."""
        warm = min(1.0, (step + 1) / max(self.warm_up, 1))
        decayed = max(0.0, progress - self.constant) / max(1 - self.constant, 1e-9)
        return self.stage_at(step)[0].peak * warm * 0.5 * (1 + math.cos(math.pi * min(decayed, 1.0)))

    def balance_at(self, progress: float) -> float:
        """Return the weight of the balanced cross-entropy after a fraction of the run."""
        return self.balance * min(1.0, 2 * (1 - min(progress, 1.0)))

    def averaging_at(self, step: int) -> float:
        """Return the fraction of the old average that a step keeps."""
        return min(self.averaging, (1 + step) / (10 + step))


# The stages of the weights that come with the package; MODEL_CARD.md says when their learning rate began to fall.
FROM_SCRATCH = (Stage(256, 8, 3400, 5e-4), Stage(384, 6, 500, 4e-4), Stage(512, 4, 400, 1e-3))


def parse_stage(text: str) -> Stage:
    """Return a stage from text "SIZE:BATCH:STEPS:PEAK", such as "256:8:2500:4e-4".

    Raises:
        ConfigError: The text has another form, or a number is outside its range.
    """
    parts = text.split(":")
    try:
        size, batch, steps = (int(part) for part in parts[:3])
        (peak,) = (float(part) for part in parts[3:])
    except ValueError:
        raise ConfigError(f"A stage is SIZE:BATCH:STEPS:PEAK, such as 256:8:2500:4e-4; found {text!r}.") from None
    if size < 64 or size % 16 or min(batch, steps) < 1 or not 0 < peak < 1:
        raise ConfigError(
            f"A stage needs a size that is a multiple of 16 px and at least 64, at least one image and step, "
            f"and a learning rate between 0 and 1; found {text!r}."
        )
    return Stage(size, batch, steps, peak)
