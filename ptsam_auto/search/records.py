"""What was asked of a search, and what became of each trial, read from its folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.errors import SearchError
from ptsam_auto.search.space import Configuration
from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Event

ABOUT, JOURNAL = "search.json", "journal.jsonl"


@dataclass(frozen=True)
class Rung:
    """A trial measured on its way.

    Args:
        share: of its epochs that are done, up to 1.
        epoch: how many those are.
        step: optimiser steps of each training.
        cells: Dice, 0 to 1, by dataset and split: "cracks/0".
        loss: mean over the trainings, of the last epoch.
        seconds: of training since the trial began, over all cells, encoding and measuring left out.
    """

    share: float
    epoch: int
    step: int
    cells: dict[str, float]
    loss: float
    seconds: float

    @property
    def dice(self) -> float:
        """Mean over datasets of the mean over splits; the score. The last one counts: fit keeps the last prompts."""
        return float(np.mean(list(self.cells.values())))


@dataclass
class Trial:
    """One configuration and how it fared.

    Args:
        number: counted from 0, in the order in which trials were begun.
        configuration: what was tried.
        settings: all of its settings, by field path.
        rungs: by epoch, ascending.
        state: "running", "finished" (trained to its end), "stopped" (was behind at a rung) or "failed".
        error: why it failed.
        trainable: how many numbers it learns.
        encoded: views and held-out tiles that it had to encode itself.
    """

    number: int
    configuration: Configuration
    settings: dict[str, Any]
    rungs: list[Rung] = field(default_factory=list)
    state: str = "running"
    error: str | None = None
    trainable: int = 0
    encoded: int = 0

    @property
    def dice(self) -> float:
        """The last rung's mean Dice; nan before the first."""
        return self.rungs[-1].dice if self.rungs else float("nan")

    @property
    def standard_error(self) -> float:
        """Of `dice`, see `standard_error`."""
        return standard_error(self.rungs[-1].cells) if self.rungs else float("nan")

    @property
    def seconds(self) -> float:
        """Of training."""
        return self.rungs[-1].seconds if self.rungs else 0.0

    @property
    def decoded(self) -> int:
        """Images that one training shows to the decoder: steps x batch size."""
        return (
            self.settings["recipe.epochs"]
            * self.settings["recipe.steps_per_epoch"]
            * self.settings["recipe.batch_size"]
        )


def standard_error(cells: dict[str, float]) -> float:
    """Of a mean over datasets and splits.

    The datasets are what was chosen to search on, not a sample; what varies by chance is the split of each and its
    seed. So the variance is taken over the splits of a dataset, averaged over datasets, and divided by the number of
    cells. Not a number with a single split.

    Args:
        cells: Dice by "dataset/split"; every dataset has the same number of splits.
    """
    by_dataset: dict[str, list[float]] = {}
    for name, dice in cells.items():
        by_dataset.setdefault(name.rpartition("/")[0], []).append(dice)
    if min(map(len, by_dataset.values())) < 2:
        return float("nan")
    variance = np.mean([np.var(values, ddof=1) for values in by_dataset.values()])
    return float(np.sqrt(variance / len(cells)))


def trials_of(events: Iterable[Event]) -> list[Trial]:
    """Every trial that the events tell of, by number."""
    trials: dict[int, Trial] = {}
    for event in events:
        apply(event, trials)
    return [trials[number] for number in sorted(trials)]


def apply(event: Event, trials: dict[int, Trial]) -> None:
    """Let one event change what is known.

    A trial whose worker died may report a rung twice; the later report counts.
    """
    kind, number = event["event"], event["trial"]
    if kind == "started":
        trials.setdefault(number, Trial(number, event["configuration"], event["settings"]))
    elif kind == "rung":
        trial = trials[number]
        trial.rungs = [rung for rung in trial.rungs if rung.epoch < event["epoch"]]
        trial.rungs.append(Rung(**{key: event[key] for key in Rung.__dataclass_fields__}))
        trial.trainable = event["trainable"]
        trial.encoded = max(trial.encoded, event["encoded"])
    else:
        trials[number].state = kind
        trials[number].error = event.get("error")


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """Those that were trained to their end, the best first."""
    return sorted((trial for trial in trials if trial.state == "finished"), key=lambda trial: -trial.dice)


@dataclass(frozen=True)
class Search:
    """A search on disk, under way or done.

    Args:
        folder: its.
        about: the contents of search.json.
        trials: by number.
    """

    folder: Path
    about: dict[str, Any]
    trials: list[Trial]


def read_search(folder: Path) -> Search:
    """A search as its folder tells it.

    Raises:
        SearchError: it is none.
    """
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise SearchError(f"{folder} is not a search: it has no {ABOUT}.\nMake one: ptsam-auto search") from None
    return Search(folder, about, trials_of(journal.read(folder / JOURNAL)[0]))
