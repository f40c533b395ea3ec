"""Writes all trials of a search as one table."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from ptsam_auto.files import replacing
from ptsam_auto.search.record import Search


def write_table(path: Path, found: Search) -> None:
    """Write one row per trial to a Parquet file.

    The columns are number, state, score, cost, backbone, adaptation, settings, and the Dice of each fold at the last
    rung.
    """
    trials = found.trials
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
            "views": trial.views,
            "encoding_seconds": trial.encoding,
            "error": trial.error,
            "backbone": found.record.backbone_of(trial.configuration).weights.name,
            "adapt": found.record.adapt_of(trial.configuration),
            **{setting: trial.settings[setting] for setting in paths},
            **{f"dice/{fold}": trial.rungs[-1].folds.get(fold) if trial.rungs else None for fold in folds},
        }
        for trial in trials
    ]
    with replacing(path) as unfinished:
        parquet.write_table(pa.Table.from_pylist(rows), unfinished)
