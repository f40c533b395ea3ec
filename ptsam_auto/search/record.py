"""Data classes for search.json and the journal of a search, and functions that read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptsam_auto.errors import SearchError
from ptsam_auto.experiment import journal
from ptsam_auto.experiment.folds import DatasetRecord
from ptsam_auto.experiment.work_folder import Origin
from ptsam_auto.records import RecordError, read_json
from ptsam_auto.search.space import ADAPT, BACKBONE, Choice, Configuration, Halving, Range
from ptsam_auto.specialist.record import BackboneRecord
from ptsam_auto.training import defaults

RECORD_FILE, JOURNAL_FILE = "search.json", "journal.jsonl"


@dataclass(frozen=True)
class SearchRequest:
    """All options that determine the result of a search.

    The fields method, adapt, fixed, first, splits, train_images and stop_early are those of `search.space.Space`.

    Args:
        space: Name of the search space.
        exhaustive: Whether every combination is tried, instead of proposals.
        search: The axes of the space, by name; see `search.space.Space.axes`.
        backbone: SHA-256 of the weights of each backbone.
        data: Fingerprint of each dataset, by name.
        seed: Random seed for the proposals.
    """

    space: str
    exhaustive: bool
    search: dict[str, Choice | Range]
    method: str
    adapt: tuple[str, ...]
    fixed: dict[str, Any]
    first: tuple[Configuration, ...]
    splits: int
    train_images: int
    stop_early: Halving | None
    backbone: tuple[str, ...]
    data: dict[str, str]
    seed: int


@dataclass(frozen=True)
class SearchedBackbone:
    """A backbone of a search.

    Args:
        name: Name in the search space.
        family: Family of the backbone.
        weights: The frozen SAM.
        base: Default settings, which apply to everything that is not searched, by adaptation and field path.
    """

    name: str
    family: str
    weights: BackboneRecord
    base: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SearchRecord:
    """The complete search.json.

    Args:
        origin: Date, and versions of the packages.
        request: Options of the search.
        text: Text of the file of the search space.
        backbones: The backbones, in the order of the space.
        data: The datasets.
    """

    origin: Origin
    request: SearchRequest
    text: str
    backbones: tuple[SearchedBackbone, ...]
    data: tuple[DatasetRecord, ...]

    def backbone_of(self, configuration: Configuration) -> SearchedBackbone:
        """Return the backbone of a configuration."""
        by_name = {backbone.name: backbone for backbone in self.backbones}
        return by_name[configuration[BACKBONE]] if BACKBONE in configuration else self.backbones[0]

    def adapt_of(self, configuration: Configuration) -> str:
        """Return what a configuration adapts, "decoder" or "encoder"."""
        return configuration.get(ADAPT, self.request.adapt[0])


@dataclass(frozen=True)
class Rung:
    """The evaluation of a trial after a part of its epochs. Trials can be stopped at a rung (successive halving).

    Args:
        share: Fraction of the trial's epochs that are done, at most 1.
        epoch: Number of epochs that are done.
        step: Number of optimiser steps of each training.
        folds: Dice by dataset and split ("cracks/0"), 0 to 1.
        loss: Loss of the last epoch, mean over the trainings.
        seconds: Training time since the trial started, over all folds, without encoding and evaluation.
    """

    share: float
    epoch: int
    step: int
    folds: dict[str, float]
    loss: float
    seconds: float

    @property
    def dice(self) -> float:
        """Return the mean Dice over the folds. Every dataset has the same number of folds, so all have equal weight.

        The score of a trial is that of its last rung, because fit keeps the parameters of the last epoch.
        """
        return float(np.mean(list(self.folds.values())))


@dataclass(frozen=True)
class Started:
    """Event: a trial started.

    Args:
        trial: Number of the trial.
        time: Seconds since 1970.
        configuration: Configuration of the trial.
        settings: All settings of the trial, by field path.
        event: Kind of the event.
    """

    trial: int
    time: float
    configuration: Configuration
    settings: dict[str, Any]
    event: Literal["started"] = "started"


@dataclass(frozen=True)
class Measured:
    """Event: a trial was evaluated at a rung.

    Args:
        trial: Number of the trial.
        time: Seconds since 1970.
        rung: The evaluation.
        trainable: Number of learned parameters.
        encoded: Number of views and held-out tiles that the trial itself has encoded so far.
        views: Number of encoded views that its trainings use, whichever trial has encoded them.
        encoding: Time in which the trial has encoded `encoded` views and tiles, seconds.
        event: Kind of the event.
    """

    trial: int
    time: float
    rung: Rung
    trainable: int
    encoded: int
    views: int = 0
    encoding: float = 0.0
    event: Literal["measured"] = "measured"


@dataclass(frozen=True)
class Ended:
    """Event: a trial ended.

    Args:
        trial: Number of the trial.
        time: Seconds since 1970.
        event: "finished" (trained to the last epoch), "stopped" (stopped early by ASHA) or "failed".
        error: Error message of a failed trial.
    """

    trial: int
    time: float
    event: Literal["finished", "stopped", "failed"]
    error: str | None = None


Event = Started | Measured | Ended


@dataclass
class Trial:
    """One configuration and its results.

    Args:
        number: Number of the trial, counted from 0 in the order in which the trials were started.
        configuration: Configuration of the trial.
        settings: All settings of the trial, by field path.
        rungs: Evaluations, ascending by epoch.
        state: "running", "finished" (trained to the last epoch), "stopped" (stopped early by ASHA) or "failed".
        error: Error message of a failed trial.
        trainable: Number of learned parameters.
        encoded: Number of views and held-out tiles that the trial itself has encoded.
        views: Number of encoded views that its trainings use, whichever trial has encoded them.
        encoding: Time in which the trial has encoded `encoded` views and tiles, seconds.
    """

    number: int
    configuration: Configuration
    settings: dict[str, Any]
    rungs: list[Rung] = field(default_factory=list)
    state: str = "running"
    error: str | None = None
    trainable: int = 0
    encoded: int = 0
    views: int = 0
    encoding: float = 0.0

    @property
    def dice(self) -> float:
        """Return the mean Dice of the last rung, or nan before the first rung."""
        return self.rungs[-1].dice if self.rungs else float("nan")

    @property
    def dice_by_dataset(self) -> dict[str, float]:
        """Return the mean Dice over the splits of each dataset at the last rung."""
        return {name: float(np.mean(values)) for name, values in _by_dataset(self.rungs[-1].folds).items()}

    @property
    def standard_error(self) -> float:
        """Return the standard error of `dice`; see the function `standard_error`."""
        return standard_error(self.rungs[-1].folds) if self.rungs else float("nan")

    @property
    def seconds(self) -> float:
        """Return the training time in seconds."""
        return self.rungs[-1].seconds if self.rungs else 0.0

    @property
    def images_shown(self) -> int:
        """Return the number of images that one training shows to the decoder: steps x batch size."""
        return (
            self.settings["recipe.epochs"]
            * self.settings["recipe.steps_per_epoch"]
            * self.settings["recipe.batch_size"]
        )


def standard_error(folds: dict[str, float]) -> float:
    """Return the standard error of a mean over datasets and splits.

    The datasets are fixed; only the splits and the seeds are random. So the variance is taken over the splits of each
    dataset, averaged over the datasets, and divided by the number of folds. With a single split the result is nan.

    Args:
        folds: Dice by "dataset/split"; every dataset has the same number of splits.
    """
    by_dataset = _by_dataset(folds)
    if min(map(len, by_dataset.values())) < 2:
        return float("nan")
    variance = np.mean([np.var(values, ddof=1) for values in by_dataset.values()])
    return float(np.sqrt(variance / len(folds)))


def _by_dataset(folds: dict[str, float]) -> dict[str, list[float]]:
    """Return the Dice of all splits of each dataset."""
    by_dataset: dict[str, list[float]] = {}
    for name, dice in folds.items():
        by_dataset.setdefault(name.rpartition("/")[0], []).append(dice)
    return by_dataset


def trials_of(events: Iterable[Event]) -> list[Trial]:
    """Return the trials of the events, sorted by number."""
    trials: dict[int, Trial] = {}
    for event in events:
        apply(event, trials)
    return [trials[number] for number in sorted(trials)]


def apply(event: Event, trials: dict[int, Trial]) -> None:
    """Apply one event to the trials.

    A trial whose worker failed may report a rung twice; the later report counts.
    """
    if isinstance(event, Started):
        trials.setdefault(event.trial, Trial(event.trial, event.configuration, event.settings))
        return
    trial = trials[event.trial]
    if isinstance(event, Measured):
        trial.rungs = [rung for rung in trial.rungs if rung.epoch < event.rung.epoch] + [event.rung]
        trial.trainable = event.trainable
        trial.views = event.views
        if event.encoded >= trial.encoded:  # A worker that continues after a failure encodes less, or nothing.
            trial.encoded, trial.encoding = event.encoded, event.encoding
    else:
        trial.state = event.event
        trial.error = event.error


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials, the best first."""
    return sorted((trial for trial in trials if trial.state == "finished"), key=lambda trial: -trial.dice)


@dataclass(frozen=True)
class Search:
    """A search as read from its folder; it may still be running.

    Args:
        folder: Folder of the search.
        record: Contents of search.json.
        trials: Trials, sorted by number.
    """

    folder: Path
    record: SearchRecord
    trials: list[Trial]

    def seconds(self, trial: Trial) -> float:
        """Return the duration of one training of a trial with the encoding of its views, mean over its folds.

        Trials share encoded views, so the time of the encoding is computed from the number of views that the trial
        uses and from the mean time of an encoding on its backbone. So it does not depend on the order of the trials.
        """
        backbone = self.record.backbone_of(trial.configuration)
        on_it = [other for other in self.trials if self.record.backbone_of(other.configuration) == backbone]
        encoded = sum(other.encoded for other in on_it)
        per_view = sum(other.encoding for other in on_it if other.encoded) / encoded if encoded else 0.0
        return (trial.seconds + trial.views * per_view) / len(trial.rungs[-1].folds)


def read_search(folder: Path) -> Search:
    """Read a search from its folder.

    Raises:
        SearchError: The folder is not a search, or search.json is damaged.
        OutputError: The journal is damaged.
    """
    return Search(folder, read_record(folder), trials_of(read_events(folder)))


def read_record(folder: Path) -> SearchRecord:
    """Return the contents of search.json. Raises SearchError as `read_search` does."""
    try:
        record = read_json(SearchRecord, folder / RECORD_FILE)
        _check(record)
        return record
    except (FileNotFoundError, NotADirectoryError):
        raise SearchError(
            f"{folder} is not a search: it has no {RECORD_FILE}.\nTo make one, run: ptsam-auto search"
        ) from None
    except RecordError as error:
        raise SearchError(
            f"{folder / RECORD_FILE} is damaged ({error}).\nRestore it from a copy, or run the search again."
        ) from None


def _check(record: SearchRecord) -> None:
    """Check what the types of the fields do not say.

    Raises:
        RecordError: A part that is needed is missing, or has a name that does not exist.
    """
    request = record.request
    if not record.backbones or not request.adapt:
        raise RecordError("it has no backbone, or adapts nothing")
    for backbone in record.backbones:
        if backbone.family not in defaults.families():
            raise RecordError(f"there is no backbone {backbone.family}")
        try:
            possible = defaults.adaptations(backbone.family, request.method)
        except KeyError:
            raise RecordError(f"there is no method {request.method}") from None
        for adapt in request.adapt:
            if adapt not in possible or adapt not in backbone.base:
                raise RecordError(f"{backbone.name} has no settings for {request.method}, {adapt}")


def read_events(folder: Path) -> list[Event]:
    """Return all events of a search so far.

    Raises:
        OutputError: The journal is damaged.
    """
    path = folder / JOURNAL_FILE
    events: list[Event] = journal.read(path, Event)[0]  # type: ignore[arg-type]
    started: set[int] = set()
    folds: set[str] | None = None
    for number, event in enumerate(events, start=1):
        if isinstance(event, Started):
            started.add(event.trial)
        elif event.trial not in started:
            raise journal.damaged(path, f"in line {number}", f"trial {event.trial} has not started before")
        elif isinstance(event, Measured):
            names = set(event.rung.folds)
            folds = folds or names
            if not names or names != folds:
                raise journal.damaged(path, f"in line {number}", "it has other folds than the lines before, or none")
    if started and started != set(range(len(started))):
        raise journal.damaged(path, "somewhere", "its trials are not numbered from 0")
    return events
