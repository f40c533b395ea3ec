"""Measures what the choice by cross-fitting costs: the chosen member or mixture against the best on test images.

    python benchmarks/regret.py --data ../shared/data/skin_ph2 --data ../shared/data/livecell_mini --minutes 10

For each dataset (with a splits.json that has the lists train and test), 16 images of the train list are given to the
portfolio, as `ptsam-auto fit` does. Then every member is trained on all 16 images, and all are measured on the images
of the test list. The regret is the Dice of the best member on the test images less that of the choice, which has not
seen them; it is negative where a mixture is better than every member. The table also shows whether the 95 % interval
that fit prints contains the mean Dice of the test images, for each draw of 16 images. A second table has the Dice of
every member on the test images, and so shows which backbone suits what.

If the command is interrupted, run it again to continue; each choice and each member is kept. `--table` only prints the
tables of what is there. The time of a choice depends on what else the machine does; run it alone.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from ptsam_auto.data.dataset import Dataset, Pair
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import cross_folds
from ptsam_auto.device import choose_device
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.files import write_json
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.portfolio.candidates import candidates_for
from ptsam_auto.portfolio.choice import Choice, Chooser
from ptsam_auto.portfolio.local_runner import local_runner
from ptsam_auto.portfolio.task import Candidate, Task
from ptsam_auto.registry import Choices
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.terminal import Terminal, table_of

TRAIN_IMAGES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--draws", type=int, default=1, help="Number of draws of 16 images from the train list.")
    parser.add_argument("--minutes", type=float, default=10.0, help="Budget of fit --minutes.")
    parser.add_argument("--most-test", type=int, default=50, help="Largest number of test images.")
    parser.add_argument("--choice-only", action="store_true", help="Choose, and measure no member alone.")
    parser.add_argument("--out", type=Path, default=Path("regret"), help="Folder with one JSON file per draw.")
    parser.add_argument("--table", action="store_true", help="Print the table only.")
    options = parser.parse_args()
    terminal = Terminal()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        for folder in options.data:
            for draw in range(options.draws):
                terminal.say(f"{folder.name}, draw {draw}")
                measure(drawn(folder, draw, options.most_test, terminal), options, terminal)
    results = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    terminal.out.print(table(results))
    terminal.out.print(members_table(results))


@dataclass(frozen=True)
class Draw:
    """A draw of 16 training images, and the test images.

    Args:
        name: Name of the dataset.
        seed: Number of the draw; 0 is the first 16 images of the train list.
        train: Training images.
        test: Test images.
    """

    name: str
    seed: int
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


def measure(draw: Draw, options: argparse.Namespace, terminal: Terminal) -> None:
    """Choose on one draw of images, train every member on all of them, and measure all on the test images."""
    path = options.out / f"{draw.name}-{draw.seed}.json"
    device = choose_device(None)
    candidates = candidates_for("ptsam", Choices(device=device), None, [*draw.train, *draw.test], terminal)
    if path.exists():
        result = json.loads(path.read_text())
    else:
        result = {"dataset": draw.name, "draw": draw.seed, "minutes": options.minutes, "members": {}}
        result |= chosen(draw, candidates, 60 * options.minutes, device, terminal)
        write_json(path, result)
    for candidate in () if options.choice_only else candidates:
        if candidate.name not in result["members"]:
            result["members"][candidate.name] = alone(draw, candidate, device, terminal)
            write_json(path, result)


def chosen(
    draw: Draw, candidates: tuple[Candidate, ...], seconds: float, device: torch.device, terminal: Terminal
) -> dict[str, Any]:
    """Choose as `fit` does, and measure what was chosen on the test images."""
    folds = cross_folds(draw.train, 4, draw.seed)
    with tempfile.TemporaryDirectory() as work, local_runner(candidates, device, len(folds)) as runner:
        task = Task(draw.train, draw.train, folds, draw.seed, Path(work), device, seconds, runner)
        chooser = Chooser(candidates, task, terminal)
        choice = chooser.choose()
        trained = chooser.train(choice)
        spent = chooser.seconds
        mixture = Mixture([each.model for each in trained], choice.weights)
        return {
            "seconds": spent,
            "choice": asdict(choice),
            "chosen_names": [candidates[index].name for index in choice.candidates],
            "chosen": asdict(evaluate(mixture.predict, draw.test)),
        }


def alone(draw: Draw, candidate: Candidate, device: torch.device, terminal: Terminal) -> dict[str, Any]:
    """Train a member with all its steps on all images, and measure it on the test images."""
    with tempfile.TemporaryDirectory() as work:
        task = Task(draw.train, draw.train, (), draw.seed, Path(work), device, None)
        (trained,) = Chooser((candidate,), task, terminal).train(Choice((0,), (1.0,), (1.0,)))
        return asdict(HeldOut(Path(work) / "test", candidate.backbone.sha256, draw.test).scores(trained.model))


def drawn(folder: Path, seed: int, most: int, terminal: Terminal) -> Draw:
    """Return 16 images of the train list (draw 0: the first 16), and the images of the test list."""
    with terminal.bar("Reading") as update:
        dataset: Dataset = read_folder(folder.resolve(), ReadingOptions(), progress=update)
    lists = json.loads((folder / "splits.json").read_text())
    by_name = {pair.name: pair for pair in dataset.pairs}
    names = lists["train"]
    if seed:
        names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    train = tuple(by_name[name] for name in names[:TRAIN_IMAGES])
    return Draw(folder.resolve().name, seed, train, tuple(by_name[name] for name in lists["test"][:most]))


def table(results: list[dict]) -> Table:
    """Return the table, with one row per draw and the mean regret and coverage below."""
    heads = ("dataset", "draw", "chosen", "expected", "95 % interval", "test", "best member", "its test", "regret", "s")
    rows = table_of(*heads)
    regrets, inside = [], []
    for result in results:
        expected, test = result["choice"]["expected"], result["chosen"]["dice"]
        best, regret = "", ""
        if members := result["members"]:
            best = max(members, key=lambda name, of=members: of[name]["dice"])
            regrets.append(members[best]["dice"] - test)
            regret = f"{100 * regrets[-1]:.1f}"
        inside.append(expected["low"] <= test <= expected["high"])
        weights = zip(result["chosen_names"], result["choice"]["weights"], strict=True)
        rows.add_row(
            result["dataset"],
            str(result["draw"]),
            ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in weights),
            f"{100 * expected['dice']:.1f}",
            f"{100 * expected['low']:.1f} to {100 * expected['high']:.1f}{'' if inside[-1] else ' (missed)'}",
            f"{100 * test:.1f}",
            best,
            f"{100 * members[best]['dice']:.1f}" if best else "",
            regret,
            f"{result['seconds']:.0f}",
        )
    if results:
        rows.add_section()
        covered = f"{sum(inside)} of {len(inside)} inside"
        mean = f"{100 * np.mean(regrets):.1f}" if regrets else ""
        rows.add_row("mean", "", "", "", covered, "", "", "", mean, "")
    return rows


def members_table(results: list[dict]) -> Table:
    """Return the Dice of every member on the test images, the mean of all draws in which it was measured."""
    names = sorted({name for result in results for name in result["members"]})
    rows = table_of("dataset", *names, title="Dice on the test images")
    for dataset in sorted({result["dataset"] for result in results}):
        measured = [result["members"] for result in results if result["dataset"] == dataset]
        dice = {name: [members[name]["dice"] for members in measured if name in members] for name in names}
        rows.add_row(dataset, *(f"{100 * np.mean(dice[name]):.1f}" if dice[name] else "" for name in names))
    return rows


if __name__ == "__main__":
    main()
