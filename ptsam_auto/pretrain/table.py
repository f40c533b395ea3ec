"""The judging as people read it: two tables, and in plain words where a control beats the generalist."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table as RichTable

from ptsam_auto.pretrain.rows import Row

METHODS = {
    "zero-shot": "{}, untuned",
    "ptsam": "PTSAM on {}",
    "ptsam-deep": "PTSAM with deep prompts on {}",
    "untuned": "{}, untuned",
    "ptsam-random": "PTSAM on a random network ({})",
    "unet": "U-Net from scratch ({})",
    "otsu": "Otsu's threshold",
}
SPECIALISTS = ("ptsam", "ptsam-deep")
CONTROLS = ("untuned", "ptsam-random", "unet", "otsu")


@dataclass(frozen=True)
class Table:
    """Words in rows and columns."""

    title: str
    header: list[str]
    lines: list[list[str]]


def tables(rows: Sequence[Row]) -> list[Table]:
    """One for each part that was measured."""
    zero_shot = [row for row in rows if row.part == "zero-shot"]
    specialist = [row for row in rows if row.part == "specialist"]
    found = []
    if zero_shot:
        found.append(_zero_shot(zero_shot))
    if specialist:
        found.append(_specialist(specialist))
    return found


def method_in_words(row: Row) -> str:
    """Such as "PTSAM on nano"."""
    return METHODS[row.method].format(row.weights)


def _zero_shot(rows: Sequence[Row]) -> Table:
    header = ["set", "weights", "box", "bare box", "click, best of 3", "click, chosen", "group", "prompts", "CPU s"]
    lines = []
    for row in rows:
        numbers = [row.measures[name] for name in ("box", "filled_box", "click", "click_chosen")]
        asked = "/".join(f"{row.measures[name]:.0f}" for name in ("boxes", "clicks", "groups"))
        group = f"{row.measures['group']:.3f}" if row.measures["groups"] else "-"
        shown = [f"{number:.3f}" for number in numbers]
        lines.append([row.set, row.weights, *shown, group, asked, f"{row.seconds:.0f}"])
    return Table("Zero shot: mean IoU", header, lines)


def _specialist(rows: Sequence[Row]) -> Table:
    seeds = sorted({row.seed for row in rows if row.seed is not None})
    header = ["set", "method", *(f"seed {seed}" for seed in seeds), "mean", "train", "test", "steps", "CPU s"]
    lines = []
    for group in _groups(rows):
        first, by_seed = group[0], {row.seed: row.measures["dice"] for row in group}
        shown = [f"{by_seed[seed]:.3f}" if seed in by_seed else "" for seed in seeds]
        steps = np.mean([row.measures.get("steps", 0) for row in group])
        cost = [f"{steps:.0f}" if steps else "-", f"{np.mean([row.seconds for row in group]):.0f}"]
        sizes = [str(first.train) if first.method != "untuned" else "-", str(first.images)]
        lines.append([first.set, method_in_words(first), *shown, f"{_dice(group):.3f}", *sizes, *cost])
    return Table("As a specialist: mean Dice on the test list", header, lines)


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that differ in nothing but their seed; sets in the order of their first row, methods in ours."""
    order: dict[str, int] = {}
    found: dict[tuple[int, int, str], list[Row]] = {}
    for row in rows:
        place = order.setdefault(row.set, len(order)), list(METHODS).index(row.method), row.weights
        found.setdefault(place, []).append(row)
    # Python's sort is stable: weights stay in the order in which they were named.
    return [found[place] for place in sorted(found, key=lambda place: place[:2])]


def _dice(group: Sequence[Row]) -> float:
    return float(np.mean([row.measures["dice"] for row in group]))


def verdict(rows: Sequence[Row]) -> list[str]:
    """Where a control is at least as good as the generalist; and, in points of Dice, how far apart they are."""
    lines = [
        f"{row.set}: the bare box has IoU {row.measures['filled_box']:.3f}, {row.weights} finds no more in it "
        f"({row.measures['box']:.3f})."
        for row in rows
        if row.part == "zero-shot" and row.measures["filled_box"] >= row.measures["box"]
    ]
    groups = _groups(row for row in rows if row.part == "specialist")
    for name in dict.fromkeys(method_in_words(group[0]) for group in groups if group[0].method in SPECIALISTS):
        own = [group for group in groups if method_in_words(group[0]) == name]
        lines += _against_controls(name, own, groups)
    return lines


def _against_controls(name: str, own: list[list[Row]], groups: list[list[Row]]) -> Iterator[str]:
    beaten = 0
    apart: dict[str, dict[str, list[float]]] = {}  # control, folder: differences
    for group in own:
        for control in groups:
            mine, its = group[0], control[0]
            others = its.method == "untuned" and its.weights != mine.weights
            if its.set != mine.set or its.method not in CONTROLS or others:
                continue
            lead = _dice(group) - _dice(control)
            apart.setdefault(method_in_words(its), {}).setdefault(mine.folder, []).append(lead)
            if lead <= 0:
                beaten += 1
                words = "beats" if lead < 0 else "equals"
                yield f"{mine.set}: {method_in_words(its)} ({_dice(control):.3f}) {words} {name} ({_dice(group):.3f})."
    if apart and not beaten:
        yield f"{name} beats every control on every set."
    for control_name, folders in apart.items():
        leads = [lead for found in folders.values() for lead in found]
        # All plants and weeds only are one set, of one folder's images.
        mean = np.mean([np.mean(found) for found in folders.values()])
        yield (
            f"{name} against {control_name}: {100 * mean:+.1f} points of Dice, the mean over {len(folders)} "
            f"folder{'s' * (len(folders) > 1)}; ahead on {sum(lead > 0 for lead in leads)} of {len(leads)} sets."
        )


def markdown(rows: Sequence[Row], command: str) -> str:
    """Tables and verdict, with the command that made them."""
    paragraphs = [f"Made with `{command}`."]
    for table in tables(rows):
        ruler = ["---"] * len(table.header)
        lines = ["| " + " | ".join(words) + " |" for words in (table.header, ruler, *table.lines)]
        paragraphs += [f"## {table.title}", "\n".join(lines)]
    paragraphs += ["## Verdict", "\n".join(f"- {line}" for line in verdict(rows)) or "- No control was measured."]
    weights = {row.weights: row.sha256 for row in rows if row.sha256}
    paragraphs.append("\n".join(f"- {name}: SHA-256 {sha256}" for name, sha256 in weights.items()))
    return "\n\n".join(paragraphs) + "\n"


def rich_table(table: Table) -> RichTable:
    """The same for a terminal."""
    drawn = RichTable(title=table.title, title_justify="left")
    for number, name in enumerate(table.header):
        drawn.add_column(name, justify="left" if number < 2 else "right")
    for line in table.lines:
        drawn.add_row(*line)
    return drawn
