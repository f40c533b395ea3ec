"""Writes all trials of a search as one table."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from ptsam_auto.files import replacing
from ptsam_auto.search.record import Trial


def write_table(path: Path, trials: Sequence[Trial]) -> None:
    """Write one row per trial to a Parquet file.

    The columns are number, state, score, cost, settings, and the Dice of each fold at the last rung.
    """
    folds = sorted({fold for trial in trials for rung in trial.rungs[-1:] for fold in rung.folds})
    paths = list(trials[0].settings)
    rows = [
        {
            "trial": trial.number,
            "state": trial.state,
            "dice": trial.dice if trial.rungs else None,
            "standard_error": trial.standard_error if trial.rungs else None,
            "epochs_done": trial.rungs[-1].epoch if trial.rungs else 0,
            "seconds": trial.seconds,
            "trainable": trial.trainable,
            "encoded": trial.encoded,
            "error": trial.error,
            **{setting: trial.settings[setting] for setting in paths},
            **{f"dice/{fold}": trial.rungs[-1].folds.get(fold) if trial.rungs else None for fold in folds},
        }
        for trial in trials
    ]
    with replacing(path) as unfinished:
        parquet.write_table(pa.Table.from_pylist(rows), unfinished)
