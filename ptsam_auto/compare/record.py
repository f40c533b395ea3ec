"""Data classes for comparison.json and the journal of a comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptsam_auto.compare.training import Outcome
from ptsam_auto.errors import OutputError
from ptsam_auto.experiment.folds import DatasetRecord
from ptsam_auto.experiment.work_folder import Origin
from ptsam_auto.records import RecordError, read_json
from ptsam_auto.specialist.record import BackboneRecord

RECORD_FILE, JOURNAL_FILE = "comparison.json", "journal.jsonl"


@dataclass(frozen=True)
class ComparisonRequest:
    """All options that determine the results of a comparison; see `commands.options.CompareOptions`.

    Args:
        methods: Names of methods, see `compare.entries`, or ("all",).
        sizes: Numbers of training images.
        splits: Number of splits per dataset.
        preset: "paper" or "".
        settings: Values that replace the defaults, by field path.
        backbone: SHA-256 of the weights.
        data: Fingerprint of each dataset, by name.
    """

    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    splits: int
    preset: str
    settings: dict[str, Any]
    backbone: str
    data: dict[str, str]


@dataclass(frozen=True)
class ComparisonRecord:
    """The complete comparison.json.

    Args:
        origin: Date, and versions of the packages.
        request: Options of the comparison.
        backbone: The frozen SAM.
        data: The datasets.
    """

    origin: Origin
    request: ComparisonRequest
    backbone: BackboneRecord
    data: tuple[DatasetRecord, ...]


@dataclass(frozen=True)
class TrainingKey:
    """Identifies the training of an event.

    Args:
        name: Name that is unique in the comparison: "cells/0/16/ptsam".
        dataset: Name of the dataset.
        split: Number of the split.
        size: Requested number of training images; 0 for the untuned SAM.
        entry: Name of the method, see `compare.entries`.
        train: Number of training images.
    """

    name: str
    dataset: str
    split: int
    size: int
    entry: str
    train: int


@dataclass(frozen=True)
class Finished:
    """Event: a training finished.

    Args:
        training: The training.
        time: Seconds since 1970.
        outcome: Result of the training.
        event: Kind of the event.
    """

    training: TrainingKey
    time: float
    outcome: Outcome
    event: Literal["finished"] = "finished"


@dataclass(frozen=True)
class Failed:
    """Event: a training failed. It is tried again when the command is run again.

    Args:
        training: The training.
        time: Seconds since 1970.
        error: Reason.
        event: Kind of the event.
    """

    training: TrainingKey
    time: float
    error: str
    event: Literal["failed"] = "failed"


Event = Finished | Failed


def read_record(folder: Path) -> ComparisonRecord:
    """Read comparison.json.

    Raises:
        OutputError: The file is damaged.
    """
    path = folder / RECORD_FILE
    try:
        return read_json(ComparisonRecord, path)
    except RecordError as error:
        raise OutputError(f"{path} is damaged ({error}).\nRestore it from a copy, or choose another --out.") from None
