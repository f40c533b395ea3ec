"""Compares where the deep prompts of a short training begin: at learned ones, or at those of a look at some images.

    OMP_NUM_THREADS=1 python benchmarks/first_prompts.py --data ../shared/data/skin_ph2

`fit` looks at LiteMedSAM's deep prompts with 20 steps on three quarters of the images first; then it trains them on all
images, and if the time is short, it begins at the prompts of that look. Here both ways have the same number of steps on
all images, and a third way, which begins at the prompts learned on scenes, has as many more as the look. Only images of
the train list of a dataset (with a splits.json) are used: the first 16 to train on (of a list shorter than 32 the first
10), and the next 24 at most to measure on.

If the command is interrupted, run it again to continue. `--table` only prints the table.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from grid import configuration
from rich.table import Table
from safetensors.torch import save

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import cross_folds
from ptsam_auto.methods.model import Model
from ptsam_auto.portfolio.cost import shortened
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.run import Start
from ptsam_auto.training.trainer import SamTrainer

LOOK = 20  # steps, as in the portfolio
TRAIN_IMAGES, FEWER_TRAIN_IMAGES, MOST_HELD_OUT = 16, 10, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--steps", type=int, default=50, help="Number of steps on all images.")
    parser.add_argument("--out", type=Path, default=Path("first_prompts.jsonl"), help="File with one line per dataset.")
    parser.add_argument("--table", action="store_true", help="Print the table only.")
    options = parser.parse_args()
    terminal = Terminal()
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    results = [json.loads(line) for line in lines]
    for folder in () if options.table else options.data:
        name = folder.resolve().name
        if (name, options.steps) not in [(result["dataset"], result["steps"]) for result in results]:
            terminal.say(name)
            results.append({"dataset": name, "steps": options.steps, "dice": measured(folder, options.steps)})
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(results[-1]) + "\n")
    rows = Table("dataset", "steps", *(results[0]["dice"] if results else ()))
    for result in results:
        rows.add_row(
            result["dataset"], str(result["steps"]), *(f"{100 * dice:.1f}" for dice in result["dice"].values())
        )
    if results:
        means = (100 * np.mean([result["dice"][way] for result in results]) for way in results[0]["dice"])
        rows.add_row("mean", "", *(f"{mean:.1f}" for mean in means))
    terminal.out.print(rows)


def measured(folder: Path, steps: int) -> dict[str, float]:
    """Return the Dice of each way on images of the train list that are held out."""
    names = json.loads((folder / "splits.json").read_text())["train"]
    by_name = {pair.name: pair for pair in read_folder(folder.resolve(), ReadingOptions()).pairs}
    pairs = [by_name[name] for name in names]
    count = TRAIN_IMAGES if len(pairs) >= 2 * TRAIN_IMAGES else FEWER_TRAIN_IMAGES
    train, held_out = pairs[:count], pairs[count : count + MOST_HELD_OUT]
    first_fold = cross_folds(tuple(train), 4, 0)[0]
    look = trained([pair for index, pair in enumerate(train) if index not in first_fold], LOOK)
    start = Start(save({name: values.detach() for name, values in look.trainable().items()}), LOOK)
    ways = {
        "look": look,
        "learned": trained(train, steps),
        "those of the look": trained(train, steps, start),
        "learned, more steps": trained(train, steps + LOOK),
    }
    return {way: evaluate(model.predict, held_out).dice for way, model in ways.items()}


def trained(images: Sequence[Pair], steps: int, start: Start | None = None) -> Model:
    """Train LiteMedSAM's deep prompts with a number of steps."""
    backbone, settings = configuration("lite_medsam-encoder-scenes")
    settings = replace(settings, recipe=shortened(settings.recipe, steps / settings.recipe.steps))
    with tempfile.TemporaryDirectory() as work:
        return SamTrainer(backbone, settings, start=start).train(images, 0, Path(work), "cpu").model


if __name__ == "__main__":
    main()
