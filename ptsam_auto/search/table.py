"""All trials as one table."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from ptsam_auto.search.records import Trial


def write_table(path: Path, trials: Sequence[Trial]) -> None:
    """Write a row a trial as Parquet: number, state, score, cost, settings, and the last rung's Dice of each cell."""
    cells = sorted({cell for trial in trials for rung in trial.rungs[-1:] for cell in rung.cells})
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
            **{f"dice/{cell}": trial.rungs[-1].cells.get(cell) if trial.rungs else None for cell in cells},
        }
        for trial in trials
    ]
    unfinished = path.with_suffix(".part")
    parquet.write_table(pa.Table.from_pylist(rows), unfinished)
    unfinished.replace(path)
