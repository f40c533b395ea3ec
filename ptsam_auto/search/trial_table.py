"""Writes all trials of a search as one table, and shows those of a search that is running."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from rich.markup import escape
from rich.table import Table

from ptsam_auto.files import replacing
from ptsam_auto.search.record import Search, Trial
from ptsam_auto.search.space import described
from ptsam_auto.terminal import table_of

MOST_ROWS = 12  # largest number of trials that are shown while a search is running


def progress_table(trials: Sequence[Trial]) -> Table:
    """Return a table of the running trials, and below them of the best that ended, with the settings that differ."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for path, value in trial.configuration.items():
            values.setdefault(path, set()).add(str(value))
    differing = [path for path, different in values.items() if len(different) > 1]
    table = table_of("trial", "settings", "epochs", "Dice", "state")
    running = [trial for trial in trials if trial.state == "running"]
    ended = [trial for trial in trials if trial.state != "running"]
    order = running + sorted(ended, key=lambda trial: -trial.dice if trial.rungs else 1.0)
    for trial in order[:MOST_ROWS]:
        own = {path: trial.configuration[path] for path in differing if path in trial.configuration}
        done, epochs = trial.rungs[-1].epoch if trial.rungs else 0, trial.settings.get("recipe.epochs", "?")
        dice = f"{100 * trial.dice:.1f}" if trial.rungs else ""
        table.add_row(str(trial.number), escape(", ".join(described(own))), f"{done}/{epochs}", dice, trial.state)
    if len(order) > MOST_ROWS:
        table.caption = f"and {len(order) - MOST_ROWS} more"
    return table


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
