"""From a search to defaults: the simplest configuration that is as good as the best, written down with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.table import Table
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable

from ptsam_auto.errors import ConfigError, OutputError, SearchError
from ptsam_auto.search.records import Search, Trial, finished, read_search
from ptsam_auto.search.space import described
from ptsam_auto.show import Show
from ptsam_auto.training import defaults

ROWS = 10  # of the printed table
HEADER = "Written by `ptsam-auto freeze`; goes before the defaults that ptsam-auto ships."


@dataclass(frozen=True)
class Selection:
    """What the one-standard-error rule says.

    Args:
        best: the trial with the highest score.
        within: all whose score is within the best one's standard error, the simplest first.
    """

    best: Trial
    within: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The simplest of them."""
        return self.within[0]


def select(trials: Sequence[Trial]) -> Selection:
    """The smallest and cheapest configuration whose score is within one standard error of the best (Breiman).

    Fewest learned numbers first; among those fewest tiles, then fewest training images shown, then the smallest bank,
    then the highest score. Only trials that were trained to their end count.

    Args:
        trials: of one search.

    Raises:
        SearchError: no trial has ended, or there is no standard error to speak of.
    """
    done = finished(trials)
    if not done:
        raise SearchError("No trial was trained to its end, so there is nothing to freeze.")
    best = done[0]
    if not best.standard_error >= 0:
        raise SearchError(
            "With a single split there is no standard error, and the rule that chooses needs one.\n"
            "Search with splits: 2 or more."
        )
    within = [trial for trial in done if trial.dice >= best.dice - best.standard_error]
    return Selection(best, tuple(sorted(within, key=_simplicity)))


def _simplicity(trial: Trial) -> tuple[float, ...]:
    views = trial.settings["recipe.views"] or trial.decoded  # without a bank every view is encoded anew
    return trial.trainable, trial.settings["method.tiles"], trial.decoded, views, -trial.dice


def freeze(folder: Path, to: Path | None, show: Show) -> Selection:
    """Choose, print the evidence, and write the defaults that `fit` uses from then on.

    Args:
        folder: a search's.
        to: the defaults file; by default the lab's own, see `training.defaults.user_file`. Its comments stay.
        show: where the table goes.

    Raises:
        SearchError: no search, or nothing in it to freeze.
        OutputError: the file cannot be written.
        ConfigError: the file is no TOML.
    """
    found = read_search(folder)
    selection = select(found.trials)
    to = to if to is not None else defaults.user_file()
    show.out.print(evidence_table(found, selection))
    document = _read(to)
    _write_block(document, found, selection)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_suffix(".part")
        unfinished.write_text(tomlkit.dumps(document), encoding="utf-8")
        unfinished.replace(to)
    except OSError as error:
        raise OutputError(f"Cannot write {to}: {error.strerror}.\nChoose another --to.") from None
    family, method, adapt = _whose(found)
    rival = "" if method == "ptsam" else f" --method {method}"
    show.say(f"Frozen for {family},{rival} --adapt {adapt}: {to}. See it: ptsam-auto defaults {family}{rival}")
    return selection


def evidence_table(found: Search, selection: Selection) -> Table:
    """The chosen, the best, the space's first configuration and the next best ones."""
    first = found.trials[0]
    shown = {trial.number: trial for trial in (selection.chosen, selection.best, first)}
    for trial in finished(found.trials):
        if len(shown) < ROWS:
            shown.setdefault(trial.number, trial)
    threshold = selection.best.dice - selection.best.standard_error
    table = Table(
        "trial",
        "Dice",
        "learned",
        "configuration",
        "",
        title=f"{found.folder}: {_counts(found.trials)}; within one standard error is {100 * threshold:.1f} or more",
        title_justify="left",
        title_style="",
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
            ", ".join(described(trial.configuration)),
            name if trial.state == "finished" else trial.state,
        )
    return table


def _counts(trials: Sequence[Trial]) -> str:
    states = ("finished", "stopped", "failed", "running")
    counts = {state: sum(trial.state == state for trial in trials) for state in states}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment(HEADER))
        return document
    except (OSError, TOMLKitError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.\nMend or remove it, or choose another --to.") from None


def _write_block(document: tomlkit.TOMLDocument, found: Search, selection: Selection) -> None:
    """Put the chosen trial's settings where `fit` will read them, and why beside them."""
    about, chosen = found.about, selection.chosen
    family, method, adapt = _whose(found)
    evidence = _evidence(found, selection)
    source = (
        f"search {evidence['search']}, {evidence['date']}: Dice {100 * chosen.dice:.1f} +- "
        f"{100 * chosen.standard_error:.1f}, {len(about['data'])} datasets x {evidence['splits']} splits"
    )
    blocks = _table(document, family)
    if method != "ptsam":
        blocks = _table(blocks, method)
    block = _table(blocks, adapt)
    now = {default.path: default.value for default in defaults.block(family, adapt, method)}
    now |= {path: entry["value"] for path, entry in block.items()}
    settled = {**about["asked"]["fixed"], **chosen.configuration}
    for path, value in chosen.settings.items():
        # What the search did not touch keeps its own provenance, unless the default has changed since.
        untouched = path not in settled and (now[path] == value if path in now else path not in about["base"])
        if not untouched:
            entry = tomlkit.inline_table()
            entry.update({"value": value, "source": source})
            block[path] = entry
    searched = tomlkit.table()
    for key, value in evidence.items():
        searched[key] = value
    _table(blocks, defaults.SEARCHED)[adapt] = searched


def _whose(found: Search) -> tuple[str, str, str]:
    """The block of defaults that a search is about: backbone family, method and adaptation."""
    asked = found.about["asked"]
    return found.about["family"], asked["method"], asked["adapt"]


def _table(parent: tomlkit.TOMLDocument | AbstractTable, name: str) -> AbstractTable:
    if name not in parent:
        parent[name] = tomlkit.table()
    found = parent[name]
    assert isinstance(found, AbstractTable)
    return found


def _evidence(found: Search, selection: Selection) -> dict[str, Any]:
    about, chosen, best = found.about, selection.chosen, selection.best
    images = []
    for one in about["data"]:
        known = tomlkit.array()
        known.extend(digest[: defaults.DIGEST] for digest in one["images"])
        known.multiline(len(one["images"]) > 4)
        images.append({"name": one["name"], "fingerprint": one["fingerprint"], "images": known})
    return {
        "search": about["asked"]["space"],
        "id": about["id"],
        "date": about["created"][:10],
        "rule": "the smallest and cheapest within one standard error of the best",
        "trials": _counts(found.trials),
        "chosen": chosen.number,
        "dice": round(chosen.dice, 5),
        "standard_error": round(chosen.standard_error, 5),
        "best_dice": round(best.dice, 5),
        "best_standard_error": round(best.standard_error, 5),
        "splits": about["asked"]["splits"],
        "train_images": about["asked"]["train_images"],
        "backbone": about["backbone"]["sha256"],
        "versions": about["versions"],
        "commit": about["commit"] or "unknown",
        "data": images,
    }
