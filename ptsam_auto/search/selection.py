"""Selects the configuration for `freeze`, and writes it to a defaults file with the metadata of the search."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.markup import escape
from rich.table import Table
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from ptsam_auto.errors import ConfigError, OutputError, SearchError
from ptsam_auto.files import read_utf8, write_text
from ptsam_auto.search.record import Search, Trial, finished
from ptsam_auto.search.space import described
from ptsam_auto.terminal import table_of
from ptsam_auto.training import defaults
from ptsam_auto.training.evidence import DIGEST

TABLE_ROWS = 10  # Number of rows of the printed table.
FILE_HEADER = "Written by `ptsam-auto freeze`. These values override the built-in defaults of ptsam-auto."


@dataclass(frozen=True)
class Selection:
    """The result of the one-standard-error rule.

    Args:
        best: The trial with the highest score.
        within: All trials whose score is within one standard error of the best, the simplest first.
    """

    best: Trial
    within: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """Return the simplest trial within one standard error of the best."""
        return self.within[0]


def select(trials: Sequence[Trial]) -> Selection:
    """Select the simplest configuration whose score is within one standard error of the best (Breiman).

    A configuration is simpler if it has fewer learned parameters; if these are equal, fewer tiles; then fewer images
    shown in the training; then a smaller bank; then a higher score. Only finished trials count.

    Args:
        trials: Trials of one search.

    Raises:
        SearchError: No trial finished, or the standard error is unknown (a single split).
    """
    finished_trials = finished(trials)
    if not finished_trials:
        raise SearchError("No trial finished, so there is no configuration to freeze.")
    best = finished_trials[0]
    if not best.standard_error >= 0:
        raise SearchError(
            "With a single split there is no standard error, which the selection rule needs.\n"
            "Run a search with at least 2 splits (splits: 2)."
        )
    within = [trial for trial in finished_trials if trial.dice >= best.dice - best.standard_error]
    return Selection(best, tuple(sorted(within, key=_simplicity)))


def _simplicity(trial: Trial) -> tuple[float, ...]:
    views = trial.settings["recipe.views"] or trial.images_shown  # Without a bank every view is encoded again.
    return trial.trainable, trial.settings["method.tiles"], trial.images_shown, views, -trial.dice


def write_defaults(path: Path, found: Search, selection: Selection) -> None:
    """Save the selected configuration as the default of `fit`.

    Args:
        path: Defaults file; it is created if it is missing. Its other blocks and its comments are kept.
        found: The search.
        selection: Selection from the trials of the search.

    Raises:
        OutputError: The file cannot be written.
        ConfigError: The file is not valid TOML, or no file of default settings.
    """
    document = _read(path)
    _write_block(document, found, selection)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, tomlkit.dumps(document))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another --to.") from None


def selection_table(found: Search, selection: Selection) -> Table:
    """Return a table of the selected, the best, the first and further good configurations."""
    first = found.trials[0]
    shown = {trial.number: trial for trial in (selection.chosen, selection.best, first)}
    for trial in finished(found.trials):
        if len(shown) < TABLE_ROWS:
            shown.setdefault(trial.number, trial)
    threshold = selection.best.dice - selection.best.standard_error
    table = table_of(
        *("trial", "Dice", "learned", "configuration", ""),
        title=escape(
            f"{found.folder}: {counts(found.trials)}; within one standard error is {100 * threshold:.1f} or more"
        ),
    )
    for trial in sorted(shown.values(), key=lambda trial: -trial.dice):
        names = {selection.chosen.number: "chosen", selection.best.number: "best"}
        name = names.get(trial.number, "within" if trial in selection.within else "")
        if selection.chosen is selection.best and trial is selection.best:
            name = "best, chosen"
        table.add_row(
            str(trial.number),
            f"{100 * trial.dice:.1f} +- {100 * trial.standard_error:.1f}" if trial.rungs else "-",
            f"{trial.trainable:,}",
            escape(", ".join(described(trial.configuration))),
            name if trial.state == "finished" else trial.state,
        )
    return table


def counts(trials: Sequence[Trial]) -> str:
    """Return the number of trials in each state as text, such as "10 finished, 14 stopped"."""
    states = ("finished", "stopped", "failed", "running")
    numbers = {state: sum(trial.state == state for trial in trials) for state in states}
    return ", ".join(f"{number} {state}" for state, number in numbers.items() if number)


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        document = tomlkit.parse(read_utf8(path, defaults.MOST_BYTES))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment(FILE_HEADER))
        return document
    except (OSError, TOMLKitError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.\nCorrect or delete it, or choose another --to.") from None
    try:
        defaults.content_of(path)
    except ConfigError as error:  # It may be another program's.
        raise ConfigError(
            f"{error}\nNothing is written into a file that holds something else than default settings. Correct it, or "
            "choose another --to."
        ) from None
    return document


def _write_block(document: tomlkit.TOMLDocument, found: Search, selection: Selection) -> None:
    """Write the selected settings and the metadata of the search into the document."""
    record, chosen = found.record, selection.chosen
    family, method, adapt = block_of(found)
    base = found.record.backbones[0].base[adapt]
    metadata = _metadata(found, selection)
    source = (
        f"search {metadata['search']}, {metadata['date']}: Dice {100 * chosen.dice:.1f} +- "
        f"{100 * chosen.standard_error:.1f}, {len(record.data)} datasets x {metadata['splits']} splits"
    )
    blocks = _table(document, family)
    if method != "ptsam":
        blocks = _table(blocks, method)
    block = _table(blocks, adapt)
    current = defaults.values(family, adapt, method)
    current |= {path: entry["value"] for path, entry in block.items()}
    changed = {**record.request.fixed, **chosen.configuration}
    for path, value in chosen.settings.items():
        # Settings that were not searched keep their source, unless the default has changed since the search.
        is_default = current[path] == value if path in current else path not in base
        if path in changed or not is_default:
            entry = tomlkit.inline_table()
            entry.update({"value": value, "source": source})
            block[path] = entry
    searched = tomlkit.table()
    for key, value in metadata.items():
        searched[key] = value
    _table(blocks, defaults.SEARCHED)[adapt] = searched


def block_of(found: Search) -> tuple[str, str, str]:
    """Return backbone family, method and adaptation of a search, which name its block in a defaults file.

    Raises:
        SearchError: The search has several backbones or adaptations.
    """
    record = found.record
    for what, names in (("backbones", [one.name for one in record.backbones]), ("adaptations", record.request.adapt)):
        if len(names) > 1:
            raise SearchError(
                f"{found.folder} has configurations with several {what} ({', '.join(names)}), but the default settings "
                "belong to one backbone and one adaptation.\n"
                f"Freeze a portfolio of them: ptsam-auto freeze {found.folder} --portfolio 4; or run a search with one."
            )
    return record.backbones[0].family, record.request.method, record.request.adapt[0]


def _table(parent: tomlkit.TOMLDocument | AbstractTable, name: str) -> AbstractTable:
    if name not in parent:
        parent[name] = tomlkit.table()
    found = parent[name]
    assert isinstance(found, AbstractTable)
    return found


def provenance(found: Search) -> dict[str, Any]:
    """Return what a search was, and its images, for the files that `freeze` writes."""
    record = found.record
    images = []
    for dataset in record.data:
        known = tomlkit.array()
        known.extend(digest[:DIGEST] for digest in dataset.images)
        known.multiline(len(dataset.images) > 4)
        images.append({"name": dataset.name, "fingerprint": dataset.fingerprint, "images": known})
    return {
        "search": record.request.space,
        "id": record.origin.id,
        "date": record.origin.created[:10],
        "trials": counts(found.trials),
        "splits": record.request.splits,
        "train_images": record.request.train_images,
        "commit": record.origin.commit or "unknown",
        "versions": record.origin.versions,
        "data": images,
    }


def _metadata(found: Search, selection: Selection) -> dict[str, Any]:
    chosen, best = selection.chosen, selection.best
    return {
        "rule": "the smallest and cheapest within one standard error of the best",
        "chosen": chosen.number,
        "dice": round(chosen.dice, 5),
        "standard_error": round(chosen.standard_error, 5),
        "best_dice": round(best.dice, 5),
        "best_standard_error": round(best.standard_error, 5),
        "backbone": found.record.backbones[0].weights.sha256,
        **provenance(found),
    }
