"""Measures several classes on real images: one fit of all classes, and one fit of each class alone.

    python benchmarks/classes.py --data ../shared/data/cropweed_cwfid --minutes 10 --each

The dataset has masks/ with the foreground, and masks_NAME/ with a part of it, which is a class of its own here; the
rest is the class "other". 16 images of the train list of splits.json are fitted, as `ptsam-auto fit` does it, and the
images of the test list are predicted. The first row has Dice of each class by the fit of all. With `--each`, a fit of
its own and of the same time follows for every class.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from ptsam_auto import fit
from ptsam_auto.terminal import Terminal

TRAIN_IMAGES = 16
OTHER = "other"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--each", action="store_true", help="Fit every class alone, too.")
    options = parser.parse_args()
    parts = {path.name.removeprefix("masks_"): path for path in sorted(options.data.glob("masks_*"))}
    names = [*parts, OTHER]
    rows = Table("fit", *names, "mean", "expected", "seconds")
    with tempfile.TemporaryDirectory() as work:
        for kept in [names, *([name] for name in names if options.each)]:
            folder = Path(work) / "-".join(kept)
            for split in ("train", "test"):
                write_split(options.data, parts, kept, split, folder / split)
            began = time.perf_counter()
            places = {"test": folder / "test", "out": folder / "made"}
            # An image need not show every class.
            made = fit(folder / "train", **places, minutes=options.minutes, allow_blank=True, track=False)
            seconds = time.perf_counter() - began
            test, expected = made.record.scores.test, made.record.scores.expected
            dice = dict(zip(kept, test.of_classes if len(kept) > 1 else [test.dice], strict=True))
            cells = [f"{100 * dice[name]:.1f}" if dice.get(name) is not None else "" for name in names]
            interval = f"{100 * expected.dice:.1f} ({100 * expected.low:.1f} to {100 * expected.high:.1f})"
            rows.add_row(" + ".join(kept), *cells, f"{100 * test.dice:.1f}", interval, f"{seconds:.0f}")
    Terminal().out.print(rows)


def write_split(data: Path, parts: dict[str, Path], kept: Iterable[str], split: str, folder: Path) -> None:
    """Write the images of a list, and their masks of class numbers with a legend; one class alone is 0 and 255."""
    names = json.loads((data / "splits.json").read_text())[split]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    kept = list(kept)
    for name in names[:TRAIN_IMAGES] if split == "train" else names:
        image = next((data / "images").glob(f"{name}.*"))
        (folder / "images" / image.name).write_bytes(image.read_bytes())
        whole = opened(data / "masks", name)
        masks = {part: opened(path, name) for part, path in parts.items()}
        masks[OTHER] = whole & ~np.any(list(masks.values()), axis=0)
        numbers = np.zeros(whole.shape, np.uint8)
        for number, part in enumerate(kept, start=1):
            numbers[masks[part]] = 255 if len(kept) == 1 else number
        Image.fromarray(numbers).save(folder / "masks" / f"{name}.png")
    if len(kept) > 1:
        legend = {"background": 0, **{part: number for number, part in enumerate(kept, start=1)}}
        (folder / "classes.json").write_text(json.dumps(legend))


def opened(folder: Path, name: str) -> np.ndarray:
    """Return a mask, H W, bool."""
    with Image.open(folder / f"{name}.png") as image:
        return np.asarray(image) > 0


if __name__ == "__main__":
    main()
