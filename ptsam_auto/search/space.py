"""A search space: the values that a search may try, and how it evaluates them; see `search.space_file` for the file."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ptsam_auto.errors import ConfigError, Problem, listed
from ptsam_auto.training.settings import Settings

Configuration = dict[str, Any]  # Value of every axis of a space: its searched settings, backbones and adaptations.
BACKBONE, ADAPT = "backbone", "adapt"  # names of the axes that are not settings

MAX_GRID = 1_000  # Largest number of configurations of a grid; a larger grid is most likely a mistake.


@dataclass(frozen=True)
class Choice:
    """One of several values, which have no order."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def ends(self) -> tuple[Any, ...]:
        """Return the values to check: if these are allowed, all others are allowed too."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Any number between two bounds, both included.

    Args:
        low: Lower bound.
        high: Upper bound.
        log: Whether the scale is logarithmic, so that the ratio of two values counts rather than their difference.
        whole: Whether only whole numbers are proposed.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def ends(self) -> tuple[Any, ...]:
        """Return the two bounds; see `Choice.ends`."""
        return self.low, self.high


@dataclass(frozen=True)
class Halving:
    """Early stopping (ASHA): at each rung, a trial continues if it is among the best 1 in `factor` so far.

    Rungs are fractions of a trial's own epochs, so that short and long trainings are compared at the same fraction of
    their learning rate schedule.

    Args:
        first: The first rung, a fraction of the epochs in (0, 1].
        factor: Ratio of the epochs of a rung to those of the rung before it; above 1.

    Raises:
        ConfigError: A value is outside its range.
    """

    first: float = 0.25
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.first <= 1:
            raise ConfigError(f"first is {self.first}; expected a share of the epochs, above 0 and at most 1.")
        if not self.factor > 1:
            raise ConfigError(f"factor is {self.factor}; expected a number above 1.")

    @property
    def rungs(self) -> tuple[float, ...]:
        """Return the rungs as fractions of a trial's epochs, ascending; the last is 1."""
        count = math.floor(math.log(1 / self.first) / math.log(self.factor) + 1e-9) + 1
        inner = [self.first * self.factor**k for k in range(count)]
        return (*(share for share in inner if share < 1 - 1e-9), 1.0)


@dataclass(frozen=True)
class Resources:
    """The resources of one trial. As many trials run at the same time as the machine has capacity for.

    Args:
        cpu: Number of CPU cores per worker; it may be a fraction.
        gpu: Number of GPUs per worker; it may be a fraction. With 0 a trial runs on the CPU.
        threads: Number of threads per worker, so that trials do not compete for cores.
        workers: Number of workers that train one trial together, for trainings that are too slow on one GPU; see
            `training.worker_group`.

    Raises:
        ConfigError: A value is outside its range.
    """

    cpu: float = 1.0
    gpu: float = 0.0
    threads: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        if not self.cpu > 0:
            raise ConfigError(f"cpu is {self.cpu}; expected a number above 0.")
        if self.gpu < 0:
            raise ConfigError(f"gpu is {self.gpu}; expected 0 or more.")
        for name in ("threads", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1.")


@dataclass(frozen=True)
class Space:
    """A search space, and how its configurations are evaluated.

    Args:
        name: Name of the file, without its suffix.
        text: Complete text of the file, with its comments.
        search: Values that each searched setting may take, by field path.
        method: Method whose settings are searched, a name in `methods.sam_methods`.
        adapt: What the configurations adapt: "decoder", "encoder" or both. It names the block of defaults for all
            settings that are not searched.
        backbone: Names or files of the backbones, at least one; see `fit --backbone`.
        fixed: Values that replace the defaults, by field path.
        first: Configurations that are tried first, for example the paper's.
        trials: Number of configurations to try, including the first ones.
        splits: Number of splits of each dataset, each with its own held-out images, seed and training images.
        train_images: Number of training images in a split (16 in Sec. 4.1.2), or all of them if a dataset has fewer.
        stop_early: Early stopping, or None to train every configuration to the last epoch.
        resources: Resources of one trial.
    """

    name: str
    text: str
    search: Mapping[str, Choice | Range]
    method: str = "ptsam"
    adapt: Sequence[str] = ("decoder",)
    backbone: Sequence[str] = ("auto",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    first: Sequence[Configuration] = ()
    trials: int = 30
    splits: int = 2
    train_images: int = 16
    stop_early: Halving | None = field(default_factory=Halving)
    resources: Resources = field(default_factory=Resources)

    @property
    def rungs(self) -> tuple[float, ...]:
        """Return the fractions of a trial's epochs at which it is evaluated, ascending."""
        return self.stop_early.rungs if self.stop_early else (1.0,)

    @property
    def axes(self) -> dict[str, Choice | Range]:
        """Return the values of everything in which configurations differ: backbone, adaptation and searched settings.

        A single backbone, or a single adaptation, is not an axis.
        """
        names = {BACKBONE: self.backbone, ADAPT: self.adapt}
        return {**{name: Choice(tuple(values)) for name, values in names.items() if len(values) > 1}, **self.search}

    def backbone_of(self, configuration: Mapping[str, Any]) -> str:
        """Return the name of the backbone of a configuration."""
        return configuration.get(BACKBONE, self.backbone[0])

    def adapt_of(self, configuration: Mapping[str, Any]) -> str:
        """Return what a configuration adapts, "decoder" or "encoder"."""
        return configuration.get(ADAPT, self.adapt[0])

    def on(self, backbone: str) -> "Space":
        """Return the same space on another backbone.

        If the space has several backbones, the first configurations on the others are left out, and as many trials.
        """
        kept = [one for one in self.first if one.get(BACKBONE, backbone) == backbone]
        first = [{path: value for path, value in one.items() if path != BACKBONE} for one in kept]
        trials = max(1, self.trials - len(self.first) + len(first))
        return replace(self, backbone=(backbone,), first=tuple(first), trials=trials)

    def exhaustive(self) -> "Space":
        """Return the same space as a grid: every combination of its values, each trained to the last epoch.

        Raises:
            ConfigError: A range is continuous, or the grid has more than `MAX_GRID` configurations.
        """
        problems = [
            Problem(f"search.{path}", "a grid needs single values, but this range is continuous; use choice")
            for path, values in self.search.items()
            if isinstance(values, Range) and not values.whole
        ]
        if problems:
            raise ConfigError(
                listed(f"{self.name} as a grid", problems, "Correct these lines, then run the command again.")
            )
        axes = [
            values.values if isinstance(values, Choice) else tuple(range(int(values.low), int(values.high) + 1))
            for values in self.axes.values()
        ]
        count = math.prod(len(axis) for axis in axes)
        if count > MAX_GRID:
            raise ConfigError(f"{self.name} as a grid has {count:,} configurations; expected at most {MAX_GRID:,}.")
        grid = tuple(dict(zip(self.axes, point, strict=True)) for point in itertools.product(*axes))
        return replace(self, first=grid, trials=len(grid), stop_early=None)


def settings_of(base: Mapping[str, Any], space: Space, configuration: Mapping[str, Any]) -> Settings:
    """Return all settings of a trial: the fixed values replace the defaults, and the configuration replaces both.

    In a space with both adaptations, a setting that has no effect with the adaptation of the trial keeps its default.

    Args:
        base: Defaults of the trial's backbone and adaptation, by field path.
        space: Search space with the fixed values.
        configuration: Configuration of the trial.

    Raises:
        ConfigError: Two settings exclude each other.
    """
    adapt = space.adapt_of(configuration)
    chosen = {path: value for path, value in {**space.fixed, **configuration}.items() if path not in (BACKBONE, ADAPT)}
    if len(space.adapt) > 1:
        chosen = {path: value for path, value in chosen.items() if has_effect(path, adapt)}
    return Settings.from_paths({**base, **chosen})


def has_effect(path: str, adapt: str) -> bool:
    """Return whether a setting has an effect with an adaptation.

    A frozen encoder learns nothing. The features of a tuned encoder change at every step, so it has no bank of views.
    """
    return not path.startswith("method.encoder_") if adapt == "decoder" else path != "recipe.views"


def described(configuration: Mapping[str, Any]) -> Iterator[str]:
    """Yield each setting of a configuration as text, without the name of its group: "learning_rate 0.05"."""
    for path, value in configuration.items():
        name = path.rpartition(".")[2]
        yield f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
