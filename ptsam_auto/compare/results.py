"""What came of a comparison, and the paper's Table 2 made of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy.stats import wilcoxon

from ptsam_auto.compare.bout import UNTUNED
from ptsam_auto.compare.entries import ENTRIES

LEVEL = 0.05  # of the test that says which methods are not worse than the best
LEAST = 6  # images; with fewer no signed-rank test can reach the level
COST = ("seconds", "peak_bytes", "trainable", "bytes")


@dataclass(frozen=True)
class Result:
    """A bout that ended.

    Args:
        dataset: its name.
        split: its number.
        size: training images that were asked for; 0 for the untuned SAM.
        entry: who, see `entries`; or "untuned".
        train: training images.
        dice: 0 to 1, of each held-out image, by name.
        seconds: of training.
        peak_bytes: of memory.
        trainable: numbers.
        bytes: that ship.
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

    @property
    def mean(self) -> float:
        """Over the images, 0 to 1."""
        return float(np.mean(list(self.dice.values())))


def results_of(events: Iterable[dict[str, Any]]) -> list[Result]:
    """Every bout that ended; of one that was run again the last."""
    last = {event["bout"]: event for event in events}
    fields = Result.__dataclass_fields__
    return [Result(**{name: event[name] for name in fields}) for event in last.values() if event["event"] == "ended"]


def failures_of(events: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Every bout that failed for good, and why."""
    last = {event["bout"]: event for event in events}
    return {name: event["error"] for name, event in last.items() if event["event"] == "failed"}


def title_of(entry: str) -> str:
    """For people."""
    return ENTRIES[entry].title if entry in ENTRIES else "untuned SAM"


def entries_in(results: Sequence[Result]) -> list[str]:
    """Who took part, in the paper's order; the untuned SAM last."""
    found = {result.entry for result in results}
    return [name for name in (*ENTRIES, UNTUNED) if name in found]


def select(results: Sequence[Result], **wanted: Any) -> list[Result]:  # noqa: ANN401 - a field's value
    """Those whose fields have these values, by split."""
    found = [result for result in results if all(getattr(result, key) == value for key, value in wanted.items())]
    return sorted(found, key=lambda result: result.split)


def mean_and_std(results: Sequence[Result]) -> tuple[float, float]:
    """Of the splits' means, 0 to 1, as Table 2 has them (n - 1; 0 of a single split)."""
    means = [result.mean for result in results]
    return float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def as_good(results: Sequence[Result], best: str, other: str) -> bool:
    """Whether `other` is not significantly worse than `best`: Wilcoxon's test over the images of all splits.

    Args:
        results: of one dataset and size.
        best: an entry.
        other: an entry; both are measured on the same images.
    """
    first, second = (
        {(r.split, image): dice for r in select(results, entry=name) for image, dice in r.dice.items()}
        for name in (best, other)
    )
    shared = sorted(first.keys() & second.keys())
    apart = np.array([first[key] - second[key] for key in shared])
    if len(apart) < LEAST or not apart.any():
        return not apart.any()
    return bool(wilcoxon(apart, alternative="greater").pvalue >= LEVEL)


def table_2(results: Sequence[Result]) -> str:
    """Markdown: Dice in percent, mean and deviation over splits; the best bold, what is as good with a star."""
    entries = entries_in(results)
    lines = [["dataset", "images", *map(title_of, entries)]]
    untuned = select(results, entry=UNTUNED)
    for dataset in dict.fromkeys(result.dataset for result in results):
        # Before anything is trained, the untuned SAM has a line of its own.
        for size in sorted({r.size for r in select(results, dataset=dataset)} - {0}) or [0]:
            here = select(results, dataset=dataset, size=size)
            scores = {name: mean_and_std(found) for name in entries if (found := select(here, entry=name))}
            best = max(scores, key=lambda name: scores[name][0])
            if control := select(untuned, dataset=dataset):
                scores[UNTUNED] = mean_and_std(control)
            train = max(result.train for result in here)
            cells = []
            for name in entries:
                if name not in scores:
                    cells.append("-")
                    continue
                text = f"{100 * scores[name][0]:.1f} ± {100 * scores[name][1]:.1f}"
                star = name not in (best, UNTUNED) and as_good(here, best, name)
                cells.append(f"**{text}**" if name == best else text + " \\*" * star)
            lines.append([dataset, str(train), *cells])
    return _markdown(lines)


def costs(results: Sequence[Result]) -> str:
    """Markdown: what each method costs, beyond the paper: medians over its trainings."""
    lines = [["method", "learned numbers", "ships", "training", "peak memory"]]
    for name in entries_in(results):
        found = select(results, entry=name)
        seconds, peak, trainable, size = (float(np.median([getattr(r, key) for r in found])) for key in COST)
        lines.append([title_of(name), f"{trainable:,.0f}", _bytes(size), f"{seconds:.0f} s", _bytes(peak)])
    return _markdown(lines)


def write_parquet(results: Sequence[Result], path: Path) -> None:
    """A row for each image that was measured."""
    rows = [
        {"dataset": r.dataset, "split": r.split, "size": r.size, "method": r.entry, "train": r.train, "image": image}
        | {"dice": dice, **{key: getattr(r, key) for key in COST}}
        for r in results
        for image, dice in r.dice.items()
    ]
    unfinished = path.with_suffix(".part")
    parquet.write_table(pa.Table.from_pylist(rows), unfinished)
    unfinished.replace(path)


def _bytes(count: float) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if count >= size * 999.5 / 1024:  # a thousand of the smaller unit would take four digits
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
