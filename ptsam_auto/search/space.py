"""What a search may try: a YAML file becomes a Space, or one error that names everything wrong with it."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ptsam_auto.errors import ConfigError, Problem, listed, suggestion
from ptsam_auto.methods import registry
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings, types

Configuration = dict[str, Any]  # field path to value, for every path that is searched

KINDS = ("choice", "int", "log_uniform", "uniform")
GRIDS_END = 1_000  # configurations; a grid beyond that is a slip of the pen


@dataclass(frozen=True)
class Choice:
    """One of some values, without an order."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all of them: where these are allowed, so is the rest."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Anything between two values, both included.

    Args:
        low: the smallest.
        high: the largest.
        log: whether what counts is the ratio of two values rather than their difference.
        whole: whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def ends(self) -> tuple[Any, ...]:
        """See Choice."""
        return self.low, self.high


@dataclass(frozen=True)
class Halving:
    """When bad trials stop (ASHA): at each rung those go on that are among the best 1 in `factor` so far.

    Rungs are shares of a trial's own epochs, so that a short training that is nearly done is not compared with a long
    one in the middle of its annealing.

    Args:
        first: the first rung, in (0, 1].
        factor: how much later each next rung is, above 1.
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
        """Shares of a trial's epochs, ascending; the last is 1, the end."""
        count = math.floor(math.log(1 / self.first) / math.log(self.factor) + 1e-9) + 1
        inner = [self.first * self.factor**k for k in range(count)]
        return (*(share for share in inner if share < 1 - 1e-9), 1.0)


@dataclass(frozen=True)
class Resources:
    """What one trial takes up; trials run side by side as far as the machine has it.

    Args:
        cpu: cores of each worker, also a part of one.
        gpu: GPUs of each worker, also a part of one; 0 computes on the CPU.
        threads: that a worker computes with, so that trials do not fight for cores.
        workers: that train a trial together, see `training.team`; for trainings that one GPU is too slow for.
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
    """What a search may try, and how it is judged.

    Args:
        name: of the file.
        text: of the file, comments and all.
        search: field path to the values it may take.
        method: a name of `methods.registry`: whose settings these are.
        adapt: "decoder" or "encoder": which block of the method's defaults holds everything that is not searched.
        backbone: as `fit` takes it.
        fixed: field path to value, in place of the default.
        first: configurations that are tried before any are proposed, the paper's among them.
        trials: configurations altogether.
        splits: of each dataset, each with its own held-out images, seed and training images.
        train_images: of each split (16 in Sec. 4.1.2); fewer where a dataset has fewer.
        stop_early: None trains every configuration to its end.
        resources: of one trial.
    """

    name: str
    text: str
    search: Mapping[str, Choice | Range]
    method: str = "ptsam"
    adapt: str = "decoder"
    backbone: str = "auto"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    first: Sequence[Configuration] = ()
    trials: int = 30
    splits: int = 2
    train_images: int = 16
    stop_early: Halving | None = field(default_factory=Halving)
    resources: Resources = field(default_factory=Resources)

    @property
    def rungs(self) -> tuple[float, ...]:
        """When a trial is measured, as shares of its epochs."""
        return self.stop_early.rungs if self.stop_early else (1.0,)

    @property
    def most_views(self) -> int:
        """The largest bank that a trial may want, so that it is encoded once; 0 where that is not searched."""
        found = self.search.get("recipe.views")
        return int(max(found.ends())) if found is not None else 0

    def exhaustive(self) -> "Space":
        """The same as a grid: every combination, each trained to its end.

        Raises:
            ConfigError: a range has no end of values, or the grid has too many.
        """
        problems = [
            Problem(f"search.{path}", "a range of any numbers has no end; list values: choice")
            for path, values in self.search.items()
            if isinstance(values, Range) and not values.whole
        ]
        if problems:
            raise ConfigError(
                listed(f"{self.name} as a grid", problems, "Mend these lines, then run the command again.")
            )
        values = [
            values.values if isinstance(values, Choice) else tuple(range(int(values.low), int(values.high) + 1))
            for values in self.search.values()
        ]
        count = math.prod(len(each) for each in values)
        if count > GRIDS_END:
            raise ConfigError(f"{self.name} as a grid has {count:,} configurations; expected at most {GRIDS_END:,}.")
        grid = tuple(dict(zip(self.search, each, strict=True)) for each in itertools.product(*values))
        return replace(self, first=grid, trials=len(grid), stop_early=None)


def shipped() -> dict[str, Path]:
    """The spaces that come with the package, by name."""
    folder = Path(str(resources.files("ptsam_auto") / "search_spaces"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_space(choice: str) -> Space:
    """A space by its file, or by name one that comes with the package: decoder, search_spaces/decoder.yaml.

    Raises:
        ConfigError: there is no such space, or everything that is wrong with it.
    """
    path, known = Path(choice), shipped()
    if not path.is_file():
        # An installed package has no folder search_spaces/ beside the user's data; the name is as good.
        name = path.stem if path.parent.name in ("", "search_spaces") else choice
        if name not in known:
            raise ConfigError(f"{choice} is neither a file nor a search space. {suggestion(name, known)}")
        path = known[name]
    text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)}).") from None
    reading = _Reading(content)
    if reading.problems:
        raise ConfigError(listed(str(path), reading.problems, "Mend these lines, then run the command again."))
    return Space(path.stem, text, **reading.values)


class _Reading:
    """Goes through a file's content once; keeps good values and every problem."""

    def __init__(self, content: object) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        known = [each.name for each in fields(Space) if each.name not in ("name", "text")]
        if not isinstance(content, dict):
            self.problems.append(Problem("", f"expected keys and values: {', '.join(known)}"))
            return
        for key in content:
            if key not in known:
                self._problem(str(key), f"no such key. {suggestion(str(key), known)}")
        self._method(content.get("method", "ptsam"), content.get("adapt"))
        self._counts(content)
        self._parts(content)
        self._fixed(content.get("fixed"))
        self._search(content.get("search"))
        self._first(content.get("first"))

    def _problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def _method(self, method: object, adapt: object) -> None:
        if method not in registry.METHODS:
            self._problem("method", f"{method!r}; expected one of {', '.join(registry.METHODS)}")
            method = "ptsam"
        # Which backbone it will be is not known yet; what excludes what is the same with any.
        family, method = defaults.families()[0], str(method)
        possible = defaults.adaptations(family, method)
        adapt = possible[0] if adapt is None else adapt
        if adapt not in possible:
            self._problem("adapt", f"{adapt!r}; expected {' or '.join(possible)}")
            adapt = possible[0]
        self.values |= {"method": method, "adapt": adapt}
        self.types = types(method)
        self.base = {default.path: default.value for default in defaults.block(family, str(adapt), method)}

    def _counts(self, content: dict[str, Any]) -> None:
        for key in ("trials", "splits", "train_images"):
            if key in content:
                if type(content[key]) is not int or content[key] < 1:
                    self._problem(key, f"{content[key]!r}; expected a whole number, at least 1")
                self.values[key] = content[key]
        if "backbone" in content:
            if not isinstance(content["backbone"], str):
                self._problem("backbone", f"{content['backbone']!r}; expected a name or a file, as fit takes it")
            self.values["backbone"] = content["backbone"]

    def _parts(self, content: dict[str, Any]) -> None:
        if content.get("stop_early") is False:
            self.values["stop_early"] = None
        for key, part in (("stop_early", Halving), ("resources", Resources)):
            given = content.get(key)
            if given is None or (key == "stop_early" and given is False):
                continue
            known = {each.name: each.type for each in fields(part)}
            if not isinstance(given, dict):
                self._problem(key, f"{given!r}; expected {', '.join(known)}")
                continue
            numbers = {}
            for name, value in given.items():
                if name not in known:
                    self._problem(f"{key}.{name}", f"no such key. {suggestion(str(name), known)}")
                elif type(value) not in ((int,) if known[name] is int else (int, float)):
                    self._problem(f"{key}.{name}", f"{value!r}; expected a number")
                else:
                    numbers[name] = value
            try:
                self.values[key] = part(**numbers)
            except ConfigError as error:
                self._problem(key, str(error))

    def _fixed(self, fixed: object) -> None:
        self.values["fixed"] = {}
        if fixed is None:
            return
        if not isinstance(fixed, dict):
            self._problem("fixed", f"{fixed!r}; expected settings and their values")
            return
        for path, value in fixed.items():
            if self._allowed(f"fixed.{path}", path, value):
                self.values["fixed"][path] = value

    def _search(self, search: object) -> None:
        self.values["search"] = {}
        if not isinstance(search, dict) or not search:
            self._problem("search", "nothing to search; expected settings, such as recipe.epochs: {choice: [10, 20]}")
            return
        for path, given in search.items():
            where = f"search.{path}"
            if path not in self.types:
                self._problem(where, f"there is no such setting. {suggestion(str(path), self.types)}")
                continue
            if path in self.values["fixed"]:
                self._problem(where, "also among the fixed; keep one")
            kind, values = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else (None, None)
            if not isinstance(values, list) or not values:
                self._problem(where, f"{given!r}; expected one of {', '.join(KINDS)}, and a list: {{choice: [1, 2]}}")
            elif kind not in KINDS:
                self._problem(where, f"there is no {kind}. {suggestion(str(kind), KINDS)}")
            else:
                found = self._values(where, str(path), str(kind), values)
                allowed = [self._allowed(where, path, value) for value in found.ends()] if found else [False]
                if found and all(allowed):
                    self.values["search"][path] = found

    def _values(self, where: str, path: str, kind: str, values: list[Any]) -> Choice | Range | None:
        if kind == "choice":
            if len(set(map(repr, values))) < len(values):
                self._problem(where, f"choice {values} has a value twice")
                return None
            return Choice(tuple(values))
        whole, log = kind == "int", kind == "log_uniform"
        if len(values) != 2 or any(type(value) not in ((int,) if whole else (int, float)) for value in values):
            # YAML takes 1e-3 for a word: it wants the dot.
            hint = " (YAML wants 1.0e-3, with the dot)" if any(isinstance(value, str) for value in values) else ""
            self._problem(where, f"{kind} {values}; expected two {'whole ' * whole}numbers{hint}")
        elif not values[0] < values[1]:
            self._problem(where, f"{kind} {values}; expected the smaller number first")
        elif log and values[0] <= 0:
            self._problem(where, f"{kind} {values}; expected numbers above 0")
        elif self.types[path] is int and not whole:
            self._problem(where, f"{kind} gives any number, {path} takes whole ones: int or choice")
        else:
            return Range(values[0], values[1], log, whole)
        return None

    def _allowed(self, where: str, path: object, value: object) -> bool:
        try:
            Settings.from_paths({**self.base, **self.values.get("fixed", {}), str(path): value})
        except ConfigError as error:
            problem = Problem(where, str(error))
            if problem not in self.problems:
                self.problems.append(problem)
            return False
        return True

    def _first(self, first: object) -> None:
        if first is None:
            return
        if not isinstance(first, list) or not all(isinstance(each, dict) for each in first):
            self._problem("first", f"{first!r}; expected a list of configurations, each with every searched setting")
            return
        search = self.values["search"]
        for number, given in enumerate(first, start=1):
            where = f"first, number {number}"
            for path in sorted(search.keys() - given.keys()):
                self._problem(where, f"{path} is missing")
            for path, value in given.items():
                if path not in search:
                    self._problem(where, f"{path} is not searched")
                elif value not in search[path]:
                    self._problem(where, f"{path} is {value!r}, which is not among what is searched")
        self.values["first"] = tuple(first)


def settings_of(base: Mapping[str, Any], space: Space, configuration: Mapping[str, Any]) -> Settings:
    """All of a trial's settings: the backbone's defaults, what the space fixes, what is tried.

    Raises:
        ConfigError: they exclude each other.
    """
    return Settings.from_paths({**base, **space.fixed, **configuration})


def described(configuration: Mapping[str, Any]) -> Iterator[str]:
    """A configuration for people, one setting after the other: learning_rate 0.05."""
    for path, value in configuration.items():
        yield (
            f"{path.partition('.')[2]} {value:.3g}" if isinstance(value, float) else f"{path.partition('.')[2]} {value}"
        )
