"""Measures the configurations from which the portfolio of `fit` is picked, and shows what the rule picks.

    python benchmarks/grid.py --data ../shared/data/skin_ph2 --data ../shared/data/livecell_mini --device cuda
    python benchmarks/grid.py --table

Of each dataset (with a splits.json that has the list train) the first 40 images of the train list are used, and no
others: `search.trial` would do the same with a folder of them. A fifth is held out, 16 of the others are the training
images. Each configuration is trained on them and measured on the images that are held out. The first table has their
Dice. Beside it are the seconds that one training with its encoding takes here: they are estimated as in `fit`, from the
measured duration of a step, because Dice does not depend on the machine on which the grid was run, and seconds do. Then
the rule of `portfolio.learning` picks members, by the Dice that they reach within `--seconds`, which a third of ten
minutes is, and the last table leaves each dataset out.

With `--share 0.25` a configuration is trained with a quarter of its steps instead, as in a short look at it. Another
table then shows how much smaller the error (1 - Dice) becomes with each doubling of the steps; the members in
portfolio.toml have these values as `doubling`. The last one shows what a choice after a quarter of the steps loses.
What a configuration has after other numbers of steps, as after `--seconds`, is computed from these two, as if each
doubling of the steps changed its error by the same factor. If it takes longer than `--seconds` and was measured with
all its steps only, it is not picked from.

If the command is interrupted, run it again to continue. `--table` only prints the tables.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import hold_out
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.folds import Fold
from ptsam_auto.experiment.workspace import FoldRun, Workspace, train
from ptsam_auto.portfolio.cost import Cost, shortened
from ptsam_auto.portfolio.learning import Measured, leave_one_out, left_out_table, pick
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.terminal import Terminal, table_of
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer

IMAGES, TRAIN_IMAGES = 40, 16
NANO_DECODER = {"recipe.epochs": 20, "recipe.views": 8}
NANO_ENCODER = {"recipe.learning_rate": 0.03, "recipe.batch_size": 1, "recipe.epochs": 8}
GRID: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nano-whole": ("nano", "decoder", {"method.tiles": 1, **NANO_DECODER}),
    "nano-tiles-2": ("nano", "decoder", {"method.tiles": 2, **NANO_DECODER}),
    "nano-tiles-4": ("nano", "decoder", {"method.tiles": 4, **NANO_DECODER}),
    "nano-encoder-whole": ("nano", "encoder", {"method.tiles": 1, **NANO_ENCODER}),
    "nano-encoder-tiles-2": ("nano", "encoder", {"method.tiles": 2, **NANO_ENCODER}),
    "nano-encoder-tiles-4": ("nano", "encoder", {"method.tiles": 4, **NANO_ENCODER}),
    "lite_medsam-whole": ("lite_medsam", "decoder", {}),
    "lite_medsam-encoder-whole": ("lite_medsam", "encoder", {}),
    "lite_medsam-encoder-tiles-2": ("lite_medsam", "encoder", {"method.tiles": 2}),
    "lite_medsam-encoder-320": ("lite_medsam", "encoder", {"recipe.epochs": 16}),
    "lite_medsam-encoder-scenes": ("lite_medsam", "encoder", {"method.initial_prompts": "scenes", "recipe.epochs": 16}),
    "lite_medsam-encoder-scenes-tiles-2": (
        "lite_medsam",
        "encoder",
        {"method.initial_prompts": "scenes", "method.tiles": 2, "recipe.epochs": 16},
    ),
    "lite_medsam-encoder-long": (
        "lite_medsam",
        "encoder",
        {"recipe.learning_rate": 0.01, "recipe.batch_size": 2, "recipe.epochs": 15},
    ),
}
SECONDS = 200.0  # a third of the ten minutes that `fit` has on two cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--only", nargs="+", default=list(GRID), choices=list(GRID), help="Configurations.")
    parser.add_argument("--members", type=int, default=5, help="Largest number of members that are picked.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="Time of a training, for the pick.")
    parser.add_argument("--share", type=float, default=1.0, help="Fraction of the steps of a configuration.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("grid.jsonl"), help="File with one line per training.")
    parser.add_argument("--table", action="store_true", help="Print the tables only.")
    options = parser.parse_args()
    terminal = Terminal()
    if not options.table:
        done = {(each["configuration"], each["dataset"], share_of(each)) for each in results(options.out)}
        for folder, name in itertools.product(options.data, options.only):
            if (name, folder.resolve().name, options.share) not in done:
                terminal.say(f"{name}, {folder.name}")
                line = json.dumps(measured(name, folder, options.device, options.share))
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
    show(results(options.out), options.members, options.seconds, terminal)


def results(file: Path) -> list[dict[str, Any]]:
    """Return the results so far."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def share_of(result: dict[str, Any]) -> float:
    """Return the fraction of the steps of a result."""
    return result.get("share", 1.0)


def measured(name: str, folder: Path, device: str, share: float) -> dict[str, Any]:
    """Train a configuration on a dataset, and return its scores on the images that are held out."""
    backbone, settings = configuration(name)
    settings = replace(settings, recipe=shortened(settings.recipe, share))
    data = fold(folder)
    with tempfile.TemporaryDirectory() as work:
        workspace = Workspace(backbone, Path(work), torch.get_num_threads(), device)
        run = FoldRun(data, settings, workspace, Path(work) / "training")
        run.encode()
        train([run], until=settings.recipe.epochs)
        scores = run.scores()
    return {
        "configuration": name,
        "dataset": folder.resolve().name,
        **({"share": share} if share < 1 else {}),
        "dice": scores.dice,
        "images": {image.name: round(image.dice, 5) for image in scores.images},
    }


def configuration(name: str) -> tuple[Backbone, Settings]:
    """Return the backbone and all settings of a configuration."""
    chosen, adapt, differences = GRID[name]
    backbone = loaded(chosen)
    return backbone, Settings.from_paths({**defaults.values(backbone.family, adapt, "ptsam"), **differences})


@cache
def loaded(name: str) -> Backbone:
    """Load a backbone once."""
    return choose_backbone(name, Terminal.silent())


@cache
def fold(folder: Path) -> Fold:
    """Read the first images of the train list, and hold a fifth of them out."""
    names = json.loads((folder / "splits.json").read_text())["train"][:IMAGES]
    pairs = [pair for pair in read_folder(folder.resolve(), ReadingOptions()).pairs if pair.name in names]
    chosen, held_out = hold_out(pairs, seed=0)
    return Fold(f"{folder.resolve().name}/0", 0, chosen[:TRAIN_IMAGES], held_out)


def show(measured: Sequence[dict[str, Any]], members: int, limit: float, terminal: Terminal) -> None:
    """Print all tables."""
    dice = dice_of([result for result in measured if share_of(result) == 1])
    short = [  # Of those that were trained with all their steps, too.
        result
        for result in measured
        if share_of(result) < 1 and result["dataset"] in dice.get(result["configuration"], {})
    ]
    datasets = sorted(set.union(*(set(row) for row in dice.values()))) if dice else []
    complete = [name for name in GRID if len(dice.get(name, {})) == len(datasets) > 0]
    seconds = {name: estimated(name) for name in complete}
    rates = rates_of(short, dice)
    terminal.out.print(grid_table(dice, datasets, seconds))
    possible = {}
    for name in complete:
        reached = dice_after(min(1.0, limit / seconds[name]), dice[name], rates.get(name, {}))
        if len(reached) == len(datasets):
            possible[name] = Measured(reached, seconds[name])
    if possible:
        configurations = list(possible.values())
        picked = [list(possible)[index] for index in pick(configurations, members, datasets)]
        terminal.out.print(f"Picked by the Dice after at most {limit:.0f} s, in this order: {', '.join(picked)}")
        if len(datasets) > 1:
            terminal.out.print(left_out_table(leave_one_out(configurations, members)))
    if short:
        terminal.out.print(doubling_table(rates))
        terminal.out.print(late_table(short, dice, rates))


def rates_of(short: Sequence[dict[str, Any]], dice: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the logarithm of the factor by which each doubling of the steps changes the error.

    Args:
        short: Results of trainings with a part of the steps.
        dice: Dice after all steps, by configuration and dataset.
    """
    rates: dict[str, dict[str, float]] = {}
    for result in short:
        name, dataset = result["configuration"], result["dataset"]
        factor = (1 - dice[name][dataset]) / (1 - result["dice"])
        rates.setdefault(name, {})[dataset] = float(np.log(factor) / -np.log2(result["share"]))
    return rates


def dice_after(share: float, dice: dict[str, float], rates: dict[str, float]) -> dict[str, float]:
    """Return the Dice of a configuration after a share of its steps, by dataset, where its rate is known."""
    if share == 1:
        return dice
    return {dataset: 1 - (1 - dice[dataset]) * float(np.exp(rate * np.log2(share))) for dataset, rate in rates.items()}


def dice_of(measured: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the Dice by configuration and dataset."""
    dice: dict[str, dict[str, float]] = {}
    for result in measured:
        dice.setdefault(result["configuration"], {})[result["dataset"]] = result["dice"]
    return dice


def doubling_table(rates: dict[str, dict[str, float]]) -> Table:
    """Return the table of `rates_of`."""
    rows = table_of("configuration", title="ln of the factor of 1 - Dice per doubling of the steps")
    datasets = sorted(set.union(*(set(found) for found in rates.values())))
    for name in (*datasets, "mean", "standard deviation"):
        rows.add_column(name, justify="right")
    for name, found in rates.items():
        values = list(found.values())
        cells = [f"{found[dataset]:.3f}" if dataset in found else "" for dataset in datasets]
        deviation = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        rows.add_row(name, *cells, f"{np.mean(values):.3f}", deviation)
    return rows


def late_table(
    short: Sequence[dict[str, Any]], dice: dict[str, dict[str, float]], rates: dict[str, dict[str, float]]
) -> Table:
    """Return the table of what is lost by choosing a configuration after a part of its steps, on each dataset.

    Either by the Dice that it has then, or by that which it will have, if its error changes as on the other datasets.
    """
    so_far: dict[str, dict[str, dict[str, Any]]] = {}
    for result in short:
        so_far.setdefault(result["dataset"], {})[result["configuration"]] = result
    rows = table_of(
        *("dataset", "by what it has", "loss", "by what it will have", "loss", "best"),
        title="chosen after a part of the steps",
    )
    losses = []
    for dataset, measured in sorted(so_far.items()):

        def now(name: str, measured: dict[str, dict[str, Any]] = measured) -> float:
            return float(measured[name]["dice"])

        def later(name: str, left_out: str = dataset, measured: dict[str, dict[str, Any]] = measured) -> float:
            others = [rate for other, rate in rates[name].items() if other != left_out]
            return 1 - (1 - now(name, measured)) * float(np.exp(np.mean(others) * -np.log2(measured[name]["share"])))

        best = max(measured, key=lambda name, of=dataset: dice[name][of])
        by_now, by_later = max(measured, key=now), max(measured, key=later)
        losses.append([100 * (dice[best][dataset] - dice[name][dataset]) for name in (by_now, by_later)])
        rows.add_row(dataset, by_now, f"{losses[-1][0]:.1f}", by_later, f"{losses[-1][1]:.1f}", best)
    first, second = np.mean(losses, axis=0)
    rows.add_row("mean", "", f"{first:.1f}", "", f"{second:.1f}", "")
    return rows


def estimated(name: str) -> float:
    """Return how long one training with its encoding takes here, seconds."""
    backbone, settings = configuration(name)
    blank = Pair("blank", "", lambda: Sample("blank", np.zeros((512, 512, 3), np.uint8), np.zeros((512, 512), bool)))
    return Cost(SamTrainer(backbone, settings), [blank], TRAIN_IMAGES, "cpu").final(1.0, 0)


def grid_table(dice: dict[str, dict[str, float]], datasets: Sequence[str], seconds: dict[str, float]) -> Table:
    """Return the table of the Dice on the images that are held out, with the mean and the seconds."""
    rows = table_of("configuration", title="Dice on held-out images of the train lists")
    for name in (*datasets, "mean", "seconds"):
        rows.add_column(name, justify="right")
    for name in GRID:
        if own := dice.get(name):
            cells = [f"{100 * own[dataset]:.1f}" if dataset in own else "" for dataset in datasets]
            mean = f"{100 * np.mean(list(own.values())):.1f}" if len(own) == len(datasets) else ""
            rows.add_row(name, *cells, mean, f"{seconds[name]:.0f}" if name in seconds else "")
    return rows


if __name__ == "__main__":
    main()
