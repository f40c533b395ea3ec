"""Learns a portfolio from measured configurations: picks the members greedily, and tests the rule without a dataset.

The first member is the configuration with the best mean Dice over the datasets, and the cheaper of two that are equal.
Each further member is the one that raises the mean, over the datasets, of the best member's Dice most per second of its
own cost. The portfolio ends when no configuration raises that mean by at least `MIN_RISE`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.markup import escape
from rich.table import Table

from ptsam_auto.portfolio.members import Member
from ptsam_auto.terminal import table_of

MIN_RISE = 0.001  # Dice, 0 to 1; a smaller rise is not worth the time of one more member
RULE = (
    "first the best mean Dice over the datasets, then the largest rise of the mean of the best member's Dice per second"
)


@dataclass(frozen=True)
class Measured:
    """A configuration that was measured on every dataset.

    Args:
        dice: Dice by dataset, 0 to 1.
        seconds: Duration of a training with its encoding, above 0.
    """

    dice: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class LeftOut:
    """What a portfolio reaches on a dataset, if its best member is chosen.

    Args:
        dataset: Name of the dataset.
        without: Dice of the best member of the portfolio that is learned without the dataset, 0 to 1.
        learned: Dice of the best member of the portfolio that is learned on all datasets, 0 to 1.
        best: Dice of the best of all configurations, 0 to 1.
    """

    dataset: str
    without: float
    learned: float
    best: float

    @property
    def loss(self) -> float:
        """Return how much is lost because the portfolio has not seen the dataset, Dice, 0 to 1."""
        return self.learned - self.without


def pick(configurations: Sequence[Measured], count: int, datasets: Collection[str]) -> list[int]:
    """Return the indices of the members in the order in which they are picked.

    Args:
        configurations: Configurations to pick from, at least one.
        count: Largest number of members.
        datasets: Names of the datasets that count, at least one.
    """
    dice = np.array([[one.dice[name] for name in datasets] for one in configurations])
    seconds = np.array([one.seconds for one in configurations])
    # Means that differ by the rounding of a sum only are equal.
    members = [int(np.lexsort((seconds, -dice.mean(axis=1).round(9)))[0])]
    while len(members) < count:
        reached = dice[members].max(axis=0)
        rise = np.maximum(dice, reached).mean(axis=1) - reached.mean()
        per_second = np.where(rise >= MIN_RISE, rise / seconds, 0)
        if not per_second.any():
            break
        members.append(int(per_second.argmax()))
    return members


def leave_one_out(configurations: Sequence[Measured], count: int) -> list[LeftOut]:
    """Learn a portfolio without each dataset in turn; see `pick` for the arguments. There are at least two datasets."""
    datasets = list(configurations[0].dice)
    learned = pick(configurations, count, datasets)

    def reached(members: Sequence[int], dataset: str) -> float:
        return max(configurations[member].dice[dataset] for member in members)

    return [
        LeftOut(
            dataset,
            without=reached(pick(configurations, count, [name for name in datasets if name != dataset]), dataset),
            learned=reached(learned, dataset),
            best=reached(range(len(configurations)), dataset),
        )
        for dataset in datasets
    ]


def mean_loss(results: Sequence[LeftOut]) -> float:
    """Return the mean loss over the datasets, Dice, 0 to 1."""
    return float(np.mean([result.loss for result in results]))


def members_table(members: Sequence[Member], title: str) -> Table:
    """Return a table of the members' Dice on each dataset, and of the mean that each reaches with those before it.

    Args:
        members: Members with their Dice and seconds, in the order in which they were picked.
        title: Title of the table.
    """
    table = table_of("Dice", title=escape(title))
    for member in members:
        table.add_column(escape(member.name), justify="right", overflow="fold")
    for name in members[0].dice:
        table.add_row(escape(name), *(_percent(member.dice[name]) for member in members))
    table.add_section()
    table.add_row("mean", *(_percent(_mean(member.dice.values())) for member in members))
    best = [
        _mean(max(member.dice[name] for member in members[: last + 1]) for name in members[0].dice)
        for last in range(len(members))
    ]
    table.add_row("mean of the best so far", *map(_percent, best))
    table.add_row("seconds", *(f"{member.seconds:.0f}" for member in members))
    return table


def left_out_table(results: Sequence[LeftOut]) -> Table:
    """Return a table of what is reached on each dataset without having learned from it."""
    title = (
        "Dice of the best member on a dataset, if the portfolio was learned without it or with it; mean loss "
        f"{100 * mean_loss(results):.1f}"
    )
    table = table_of("dataset", title=title)
    for name in ("without it", "with it", "loss", "best of all"):
        table.add_column(name, justify="right")
    for result in results:
        numbers = (result.without, result.learned, result.loss, result.best)
        table.add_row(escape(result.dataset), *map(_percent, numbers))
    return table


def _mean(dice: Iterable[float]) -> float:
    return float(np.mean(list(dice)))


def _percent(dice: float) -> str:
    return f"{100 * dice:.1f}"
