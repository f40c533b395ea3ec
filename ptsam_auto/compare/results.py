"""The results of a comparison, and the paper's Table 2."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.markup import escape
from rich.table import Table
from scipy.stats import wilcoxon

from ptsam_auto.compare.entries import ENTRIES, UNTUNED
from ptsam_auto.compare.record import Event, Failed, Finished
from ptsam_auto.files import replacing
from ptsam_auto.terminal import table_of

SIGNIFICANCE_LEVEL = 0.05  # Level of the test that finds the methods that are not worse than the best.
MIN_IMAGES = 6  # Smallest number of images for the test; with fewer images no p-value can be below the level.
COST_FIELDS = ("seconds", "peak_bytes", "trainable", "bytes")


@dataclass(frozen=True)
class Result:
    """The result of a finished training.

    Args:
        dataset: Name of the dataset.
        split: Number of the split.
        size: Requested number of training images; 0 for the untuned SAM.
        entry: Name of the method, see `compare.entries`, or "untuned".
        train: Number of training images.
        dice: Dice of each held-out image, 0 to 1, by name.
        seconds: Training time in seconds.
        peak_bytes: Peak memory in bytes.
        trainable: Number of learned parameters.
        bytes: Size of the learned parameters in bytes.
        ended: Time of its end, seconds since 1970.
    """

    dataset: str
    split: int
    size: int
    entry: str
    train: int
    dice: dict[str, float]
    seconds: float
    peak_bytes: int
    trainable: int
    bytes: int
    ended: float = 0.0

    @classmethod
    def of(cls, event: Finished) -> "Result":
        """Create a result from an event."""
        key, outcome = event.training, event.outcome
        return cls(
            dataset=key.dataset,
            split=key.split,
            size=key.size,
            entry=key.entry,
            train=key.train,
            dice=outcome.dice,
            seconds=outcome.seconds,
            peak_bytes=outcome.peak_bytes,
            trainable=outcome.trainable,
            bytes=outcome.bytes,
            ended=event.time,
        )

    @property
    def mean(self) -> float:
        """Return the mean Dice over the images, 0 to 1."""
        return float(np.mean(list(self.dice.values())))


def results_of(events: Iterable[Event]) -> list[Result]:
    """Return the results of all finished trainings. If a training was repeated, its last result counts."""
    last = {event.training.name: event for event in events}
    return [Result.of(event) for event in last.values() if isinstance(event, Finished)]


def failures_of(events: Iterable[Event]) -> dict[str, str]:
    """Return the names of all failed trainings and their error messages."""
    last = {event.training.name: event for event in events}
    return {name: event.error for name, event in last.items() if isinstance(event, Failed)}


def title_of(entry: str) -> str:
    """Return the name of a method for tables and figures."""
    return ENTRIES[entry].title if entry in ENTRIES else UNTUNED.title


def entries_in(results: Sequence[Result]) -> list[str]:
    """Return the names of the methods in the results, in the order of the paper; the untuned SAM is last."""
    names = {result.entry for result in results}
    return [name for name in (*ENTRIES, UNTUNED.name) if name in names]


def select(results: Sequence[Result], **fields: Any) -> list[Result]:  # noqa: ANN401 - a field's value
    """Return the results whose fields have these values, sorted by split."""
    selected = [result for result in results if all(getattr(result, key) == value for key, value in fields.items())]
    return sorted(selected, key=lambda result: result.split)


def mean_and_std(results: Sequence[Result]) -> tuple[float, float]:
    """Return mean and standard deviation of Dice over the splits, 0 to 1 (n - 1; 0 for a single split; Table 2)."""
    means = [result.mean for result in results]
    return float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def not_significantly_worse(results: Sequence[Result], best: str, other: str) -> bool:
    """Return whether `other` is not significantly worse than `best`: Wilcoxon's test over the images of all splits.

    Args:
        results: Results of one dataset and size.
        best: Name of the best method.
        other: Name of another method, which is evaluated on the same images.
    """
    first, second = (
        {(r.split, image): dice for r in select(results, entry=name) for image, dice in r.dice.items()}
        for name in (best, other)
    )
    shared = sorted(first.keys() & second.keys())
    differences = np.array([first[key] - second[key] for key in shared])
    if len(differences) < MIN_IMAGES or not differences.any():
        return not differences.any()
    return bool(wilcoxon(differences, alternative="greater").pvalue >= SIGNIFICANCE_LEVEL)


def progress_table(results: Sequence[Result]) -> Table:
    """Return a table of the Dice so far: a row for each dataset and size, a column for each method."""
    entries = entries_in(results)
    table = table_of("dataset", "images", *map(title_of, entries))
    for dataset, size in sorted({(result.dataset, result.size) for result in results}):
        cells = []
        for entry in entries:
            own = select(results, dataset=dataset, size=size, entry=entry)
            cells.append(f"{100 * mean_and_std(own)[0]:.1f}" + f" ({len(own)} splits)" * (len(own) > 1) if own else "")
        table.add_row(escape(dataset), str(size) if size else "none", *cells)
    return table


def table_2(results: Sequence[Result]) -> str:
    """Return Table 2 as Markdown: mean and standard deviation of Dice over splits, in percent.

    The best method is bold. Methods that are not significantly worse have a star.
    """
    entries = entries_in(results)
    lines = [["dataset", "images", *map(title_of, entries)]]
    untuned = select(results, entry=UNTUNED.name)
    for dataset in dict.fromkeys(result.dataset for result in results):
        # If there are only results of the untuned SAM, they are shown in a row.
        for size in sorted({r.size for r in select(results, dataset=dataset)} - {0}) or [0]:
            row_results = select(results, dataset=dataset, size=size)
            by_name = {name: select(row_results, entry=name) for name in entries}
            scores = {name: mean_and_std(selected) for name, selected in by_name.items() if selected}
            best = max(scores, key=lambda name: scores[name][0])
            if untuned_results := select(untuned, dataset=dataset):
                scores[UNTUNED.name] = mean_and_std(untuned_results)
            train = max(result.train for result in row_results)
            cells = []
            for name in entries:
                if name not in scores:
                    cells.append("-")
                    continue
                text = f"{100 * scores[name][0]:.1f} ± {100 * scores[name][1]:.1f}"
                star = name not in (best, UNTUNED.name) and not_significantly_worse(row_results, best, name)
                cells.append(f"**{text}**" if name == best else text + " \\*" * star)
            lines.append([dataset, str(train), *cells])
    return _markdown(lines)


def costs(results: Sequence[Result]) -> str:
    """Return the costs of each method as Markdown: medians over its trainings. This table is not in the paper."""
    lines = [["method", "learned numbers", "file size", "training", "peak memory"]]
    for name in entries_in(results):
        selected = select(results, entry=name)
        seconds, peak, trainable, size = (float(np.median([getattr(r, key) for r in selected])) for key in COST_FIELDS)
        lines.append([title_of(name), f"{trainable:,.0f}", _bytes(size), f"{seconds:.0f} s", _bytes(peak)])
    return _markdown(lines)


def write_parquet(results: Sequence[Result], path: Path) -> None:
    """Write one row per evaluated image to a Parquet file."""
    rows = [
        {"dataset": r.dataset, "split": r.split, "size": r.size, "method": r.entry, "train": r.train, "image": image}
        | {"dice": dice, **{key: getattr(r, key) for key in COST_FIELDS}}
        for r in results
        for image, dice in r.dice.items()
    ]
    with replacing(path) as unfinished:
        parquet.write_table(pa.Table.from_pylist(rows), unfinished)


def _bytes(count: float) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if count >= size * 999.5 / 1024:  # The unit changes at 999.5, so that there are at most three digits.
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
