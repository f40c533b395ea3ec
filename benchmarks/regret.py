"""Measures what the choice by cross-fitting costs: the chosen member or mixture against the best on test images.

    python benchmarks/regret.py --data ../shared/data/skin_ph2 --data ../shared/data/livecell_mini --minutes 10

For each dataset (with a splits.json that has the lists train and test), 16 images of the train list are given to the
portfolio, as `ptsam-auto fit` does. Then every member is trained on all 16 images, and all are measured on the images
of the test list. The regret is the Dice of the best member on the test images less that of the choice, which has not
seen them; it is negative where a mixture is better than every member. The table also shows whether the 95 % interval
that fit prints contains the mean Dice of the test images, for each draw of 16 images. A second table has the Dice of
every member on the test images, and so shows which backbone suits what.

If the command is interrupted, run it again to continue. `--table` only prints the table of the finished ones. The time
of a choice depends on what else the machine does; run it alone.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
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
from ptsam_auto.specialist.scores import Scores, evaluate
from ptsam_auto.terminal import Terminal

TRAIN_IMAGES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--draws", type=int, default=1, help="Number of draws of 16 images from the train list.")
    parser.add_argument("--minutes", type=float, default=10.0, help="Budget of fit --minutes.")
    parser.add_argument("--most-test", type=int, default=50, help="Largest number of test images.")
    parser.add_argument("--choice-only", action="store_true", help="Do not measure the members that are not chosen.")
    parser.add_argument("--out", type=Path, default=Path("regret"), help="Folder with one JSON file per draw.")
    parser.add_argument("--table", action="store_true", help="Print the table only.")
    options = parser.parse_args()
    terminal = Terminal()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        for folder in options.data:
            for draw in range(options.draws):
                path = options.out / f"{folder.resolve().name}-{draw}.json"
                if not path.exists():
                    terminal.say(f"{folder.name}, draw {draw}")
                    write_json(path, measured(folder, draw, options, terminal))
    results = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    terminal.out.print(table(results))
    terminal.out.print(members_table(results))


def measured(folder: Path, draw: int, options: argparse.Namespace, terminal: Terminal) -> dict:
    """Choose on one draw of images, train every member on all of them, and measure all on the test images."""
    train, test = drawn(folder, draw, options.most_test, terminal)
    device = choose_device(None)
    candidates = candidates_for("ptsam", Choices(device=device), None, [*train, *test], terminal)
    with tempfile.TemporaryDirectory() as work:
        folds = cross_folds(train, 4, draw)
        with local_runner(candidates, device, len(folds)) as runner:
            task = Task(train, train, folds, draw, Path(work), device, 60 * options.minutes, runner)
            chooser = Chooser(candidates, task, terminal)
            choice = chooser.choose()
        trained = chooser.train(choice)
        seconds = chooser.seconds
        mixture = Mixture([each.model for each in trained], choice.weights)
        chosen = evaluate(mixture.predict, test)
        members = {}
        for index, candidate in enumerate(candidates):
            if options.choice_only and index not in choice.candidates:
                continue
            (alone,) = chooser.train(Choice((index,), (1.0,), (1.0,)))
            members[candidate.name] = asdict(scores_of(alone.model, candidate, Path(work) / "test", test))
    return {
        "dataset": folder.resolve().name,
        "draw": draw,
        "minutes": options.minutes,
        "seconds": seconds,
        "choice": asdict(choice),
        "chosen_names": [candidates[index].name for index in choice.candidates],
        "chosen": asdict(chosen),
        "members": members,
    }


def scores_of(model: object, candidate: Candidate, folder: Path, test: tuple[Pair, ...]) -> Scores:
    """Return the scores on the test images, whose features are encoded once for all members that share them."""
    return HeldOut(folder, candidate.backbone.sha256, test).scores(model)


def drawn(folder: Path, draw: int, most: int, terminal: Terminal) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return 16 images of the train list (draw 0: the first 16), and the images of the test list."""
    with terminal.bar("Reading") as update:
        dataset: Dataset = read_folder(folder.resolve(), ReadingOptions(), progress=update)
    lists = json.loads((folder / "splits.json").read_text())
    by_name = {pair.name: pair for pair in dataset.pairs}
    names = lists["train"]
    if draw:
        names = [names[i] for i in np.random.default_rng(draw).permutation(len(names))]
    return (
        tuple(by_name[name] for name in names[:TRAIN_IMAGES]),
        tuple(by_name[name] for name in lists["test"][:most]),
    )


def table(results: list[dict]) -> Table:
    """Return the table, with one row per draw and the mean regret and coverage below."""
    heads = ("dataset", "draw", "chosen", "expected", "95 % interval", "test", "best member", "its test", "regret", "s")
    rows = Table(*heads)
    regrets, inside = [], []
    for result in results:
        expected, test = result["choice"]["expected"], result["chosen"]["dice"]
        best = max(result["members"], key=lambda name: result["members"][name]["dice"])
        best_dice = result["members"][best]["dice"]
        regrets.append(best_dice - test)
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
            f"{100 * best_dice:.1f}",
            f"{100 * regrets[-1]:.1f}",
            f"{result['seconds']:.0f}",
        )
    if results:
        rows.add_section()
        covered = f"{sum(inside)} of {len(inside)} inside"
        rows.add_row("mean", "", "", "", covered, "", "", "", f"{100 * np.mean(regrets):.1f}", "")
    return rows


def members_table(results: list[dict]) -> Table:
    """Return the Dice of every member on the test images, the mean of all draws in which it was measured."""
    names = sorted({name for result in results for name in result["members"]})
    rows = Table("dataset", *names, title="Dice on the test images", title_justify="left", title_style="")
    for dataset in sorted({result["dataset"] for result in results}):
        measured = [result["members"] for result in results if result["dataset"] == dataset]
        dice = {name: [members[name]["dice"] for members in measured if name in members] for name in names}
        rows.add_row(dataset, *(f"{100 * np.mean(dice[name]):.1f}" if dice[name] else "" for name in names))
    return rows


if __name__ == "__main__":
    main()
