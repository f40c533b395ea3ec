"""The members of the portfolio, read from portfolio.toml. This module does not import slow packages.

The built-in file is used by everyone. A lab can have a file of its own, written by `ptsam-auto freeze --portfolio`,
which replaces the built-in one.
"""

import itertools
import json
import os
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ptsam_auto.errors import ConfigError, OutputError, suggestion
from ptsam_auto.files import read_utf8, write_text
from ptsam_auto.records import from_json
from ptsam_auto.training import defaults
from ptsam_auto.training.evidence import check, images_in

FILE_HEADER = (
    "The portfolio of `ptsam-auto fit`: its members in the order in which they are tried.",
    "`settings` are differences from the defaults of the backbone; see `ptsam-auto defaults`.",
    "Written by `ptsam-auto freeze --portfolio`.",
)
FEWEST_STEPS = 40  # of a first look, unless a member says otherwise
PAPER = "paper"  # name of the member with the paper's settings, which is used only if it is asked for


@dataclass(frozen=True)
class Doubling:
    """How the error of a member on images that were held out, 1 - Dice, changes when its steps are doubled.

    Args:
        mean: Mean of the logarithm of the factor, over datasets; below 0 if the error becomes smaller.
        deviation: Standard deviation of this logarithm over datasets, at least 0.
        datasets: Number of datasets, at least 2.
    """

    mean: float
    deviation: float
    datasets: int

    def __post_init__(self) -> None:
        if not (abs(self.mean) <= 1 and 0 <= self.deviation <= 1 and self.datasets >= 2):
            raise ConfigError("doubling: expected a mean of -1 to 1, a deviation of 0 to 1, and 2 datasets or more")


@dataclass(frozen=True)
class Member:
    """A configuration of the portfolio.

    Args:
        name: Name, such as "nano-whole".
        backbone: Name of the backbone.
        adapt: "decoder" or "encoder".
        settings: Values that replace the defaults of the backbone, by field path.
        source: Why it is in the portfolio.
        needs_gpu: Whether it is skipped without a GPU, because it would take hours.
        dice: Dice in the search that chose it, 0 to 1, by dataset; {} if it was not measured.
        seconds: Duration of a training with its encoding in that search, or None.
        doubling: What more steps are worth, or None if that was not measured.
        fewest_steps: Number of steps after which its Dice says what it will be, at least 1; a first look at it has at
            least so many.

    Raises:
        ConfigError: `fewest_steps` is out of range.
    """

    name: str
    backbone: str
    adapt: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    needs_gpu: bool = False
    dice: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    doubling: Doubling | None = None
    fewest_steps: int = FEWEST_STEPS

    def __post_init__(self) -> None:
        if self.fewest_steps < 1:
            raise ConfigError("fewest_steps: expected a whole number of at least 1")


MEMBER_KEYS = tuple(each.name for each in fields(Member))


@dataclass(frozen=True)
class Portfolio:
    """The members in the order in which they are tried, and what chose them.

    Args:
        members: Members in their order.
        evidence: Metadata of the search that chose them, as `ptsam-auto freeze` writes it.
    """

    members: tuple[Member, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def named(self, name: str) -> Member:
        """Return the member of this name.

        Raises:
            ConfigError: There is no member of this name.
        """
        by_name = {member.name: member for member in self.members} | {PAPER: PAPER_MEMBER}
        if name not in by_name:
            raise ConfigError(f"There is no member {name} in the portfolio. {suggestion(name, by_name)}")
        return by_name[name]


# Fresh views, 1,000 epochs, the whole image and the first of the three masks (Sec. 3.2 and 4.1.3).
PAPER_MEMBER = Member(
    PAPER,
    "auto",
    "decoder",
    {
        "method.decoder_prompts": 8,
        "method.encoder_prompts": 0,
        "method.mask_token": 1,
        "method.tiles": 1,
        "recipe.learning_rate": 0.05,
        "recipe.epochs": 1000,
        "recipe.views": 0,
    },
    "paper, Sec. 4.1.3",
)


def user_file() -> Path:
    """Return the path of the lab's own portfolio, next to its own defaults; see `training.defaults.user_file`."""
    if path := os.environ.get("PTSAM_AUTO_PORTFOLIO"):
        return Path(path)
    return defaults.user_file().with_name("portfolio.toml")


def frozen() -> Portfolio:
    """Return the portfolio that `fit` uses: the lab's own if there is one, else the built-in one.

    Raises:
        ConfigError: The lab's own file is damaged.
    """
    path = user_file()
    if path.exists():
        return read(path)
    return _parsed((resources.files("ptsam_auto.portfolio") / "portfolio.toml").read_text(encoding="utf-8"))


def searched_on(digests: Iterable[str]) -> dict[str, int]:
    """Count the images that were used in the search that chose the portfolio; see `evidence.images_in`."""
    return images_in(frozen().evidence, digests)


def names_of(backbones_and_settings: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """Return a readable name for each member: "nano-whole", "nano-tiles-2", "nano-encoder-whole", "nano-whole-b".

    Args:
        backbones_and_settings: Backbone, adaptation and all settings of each member, in their order.
    """
    names: list[str] = []
    for backbone, adapt, settings in backbones_and_settings:
        tiles = settings["method.tiles"]
        parts = [Path(backbone).stem, *(["encoder"] if adapt == "encoder" else [])]
        plain = "-".join([*parts, f"tiles-{tiles}" if tiles > 1 else "whole"])
        # From the second on, members of the same name get a letter, and two letters after z.
        letters = (itertools.product(string.ascii_lowercase, repeat=count) for count in itertools.count(1))
        suffixes = (f"-{''.join(each)}" for each in itertools.chain.from_iterable(letters) if each != ("a",))
        possible = (plain + suffix for suffix in itertools.chain([""], suffixes))
        names.append(next(name for name in possible if name not in names))
    return names


def write(path: Path, portfolio: Portfolio, *, force: bool) -> None:
    """Write a portfolio to a file.

    Args:
        path: The file; its folder is created if it is missing.
        portfolio: The portfolio.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: The file exists and `force` is not set, or it cannot be written.
    """
    import tomlkit

    check_output(path, force)
    document = tomlkit.document()
    for line in FILE_HEADER:
        document.add(tomlkit.comment(line))
    members, plain = tomlkit.aot(), asdict(Member("", "", ""))
    for member in portfolio.members:
        table = tomlkit.table()
        for name, value in asdict(member).items():
            if value != plain[name]:
                table[name] = _inline(value) if isinstance(value, dict) else value
        members.append(table)
    document["member"] = members
    document["evidence"] = dict(portfolio.evidence)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, tomlkit.dumps(document))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another --to.") from None


def check_output(path: Path, force: bool) -> None:
    """Raise OutputError if the file of a portfolio exists and may not be replaced."""
    if path.exists() and not force:
        raise OutputError(f"{path} exists.\nChoose another --to, or replace it with --force.")


def _inline(values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a table of tomlkit
    import tomlkit

    table = tomlkit.inline_table()
    table.update(values)
    return table


def read(path: Path) -> Portfolio:
    """Read a portfolio from a file.

    Raises:
        ConfigError: The file is not a portfolio.
    """
    try:
        return _parsed(read_utf8(path, defaults.MOST_BYTES))
    except (OSError, ValueError, TypeError, RecursionError) as error:  # TOML has types that JSON has not: dates.
        raise ConfigError(
            f"{path} cannot be read: {error}.\nCorrect or delete this file; it holds your own portfolio."
        ) from None


def _parsed(text: str) -> Portfolio:
    content = tomllib.loads(text)
    known = {"members": content.get("member", []), "evidence": content.get("evidence", {})}
    portfolio = from_json(Portfolio, json.dumps(known))
    check(portfolio.evidence)
    for keys, allowed in [(content, ("member", "evidence")), *((row, MEMBER_KEYS) for row in known["members"])]:
        if unknown := sorted(set(keys) - set(allowed)):
            raise ValueError(f"unknown key {unknown[0]}; expected one of {', '.join(allowed)}")
    names = [member.name for member in portfolio.members]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two members are named {twice[0]}")
    return portfolio
