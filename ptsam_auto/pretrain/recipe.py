"""The plan of a run as numbers: stages, learning rate, how the loss changes. Pure functions of the step."""

import math
from dataclasses import dataclass

from ptsam_auto.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one resolution.

    Args:
        size: S, px, a multiple of 128 (windows of 8 patches of 16 px).
        batch: images a step.
        steps: how many.
        peak: the learning rate before it decays.
    """

    size: int
    batch: int
    steps: int
    peak: float


@dataclass(frozen=True)
class Recipe:
    """How nano is trained; the defaults are the trial's (AdamW as SAM's, Sec. A of Kirillov et al. 2023).

    Args:
        stages: in their order; resolution usually rises.
        warm_up: steps until the learning rate has risen to its peak.
        constant: share of all steps before it decays, along a cosine, to zero.
        balance: weight of the balanced cross-entropy in the first half; it fades to the plain one in the second.
        detail: weight of the loss of detail, see `beside`.
        betas: AdamW's.
        decay: AdamW's, on matrices only.
        clip: the gradient's largest norm.
        averaging: share of the old average that a step keeps (EMA), ramped from 0 in the first steps.
        bfloat16: multiply matrices in bfloat16; weights, their moments and losses stay float32.
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
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest(self) -> int:
        """The largest stage's size, px: weights are probed at it and exported for it."""
        return max(stage.size for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step belongs to, and the step at which it ends."""
        end = 0
        for stage in self.stages:
            end += stage.steps
            if step < end:
                return stage, end
        raise IndexError(f"the plan has {end} steps; step {step} was asked for")

    def learning_rate(self, step: int, progress: float) -> float:
        """At a step, with `progress` (0 to 1) through the whole run."""
        warm = min(1.0, (step + 1) / max(self.warm_up, 1))
        decayed = max(0.0, progress - self.constant) / max(1 - self.constant, 1e-9)
        return self.stage_at(step)[0].peak * warm * 0.5 * (1 + math.cos(math.pi * min(decayed, 1.0)))

    def balance_at(self, progress: float) -> float:
        """Weight of the balanced cross-entropy."""
        return self.balance * min(1.0, 2 * (1 - min(progress, 1.0)))

    def averaging_at(self, step: int) -> float:
        """Share of the old average that a step keeps."""
        return min(self.averaging, (1 + step) / (10 + step))


# What the embedded weights took, but for when the rate began to fall: see MODEL_CARD.md.
FROM_SCRATCH = (Stage(256, 8, 3400, 5e-4), Stage(384, 6, 500, 4e-4), Stage(512, 4, 400, 1e-3))


def parse_stage(text: str) -> Stage:
    """A stage from "SIZE:BATCH:STEPS:PEAK", such as "256:8:2500:4e-4".

    Raises:
        ConfigError: it does not read like that, or a number is out of range.
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
