"""Measures how well objects are found and split: from the annotated masks alone, and from those of a specialist.

    python benchmarks/objects.py --data ../shared/data/nuclei_dsb2018 --data ../shared/data/livecell_mini
    python benchmarks/objects.py --data ../shared/data/nuclei_dsb2018 --specialist nuclei-specialist

Each dataset has a folder instances/ with one number per object, and a splits.json. Without a specialist, the foreground
of the first 16 images of the train list is separated into objects again; `--depth` replaces the depth at which objects
are split, and can be repeated. With one specialist for each dataset, in the same order, it predicts the images of the
test list, with and without test-time augmentation (TTA).

AP50 is matched objects / all objects of both, matched if their IoU is above 0.5; the error of the count is relative to
the count. Both are means over the images, as is Dice. The time is that of the prediction of an image.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy import ndimage

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.raster import decode
from ptsam_auto.objects import separation
from ptsam_auto.objects.separation import NOT_LEARNED, ObjectSettings, separated
from ptsam_auto.specialist.artifact import load_specialist
from ptsam_auto.specialist.scores import ImageScore
from ptsam_auto.terminal import Terminal

IMAGES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--specialist", action="append", default=[], type=Path)
    parser.add_argument("--most-test", type=int, default=50, help="Largest number of test images.")
    parser.add_argument("--depth", action="append", type=float)
    options = parser.parse_args()
    if options.specialist and len(options.specialist) != len(options.data):
        parser.error("--specialist must be given once for each --data")
    rows = Table("dataset", "masks", "objects", "Dice", "AP50", "error of the count", "seconds an image")
    for number, folder in enumerate(options.data):
        if options.specialist:
            of_specialist(rows, folder, options.specialist[number], options.most_test)
        else:
            of_annotation(rows, folder, options.depth or [separation.DEPTH])
    Terminal().out.print(rows)


def of_annotation(rows: Table, folder: Path, depths: Sequence[float]) -> None:
    """Add the rows of the annotated masks."""
    names = json.loads((folder / "splits.json").read_text())["train"][:IMAGES]
    annotated = [objects_of(folder, name) for name in names]
    name, masks = folder.resolve().name, [truth > 0 for truth in annotated]
    rows.add_row(name, "annotated", "connected parts", "", *agreement(annotated, map(connected, masks)), "")
    for depth in depths:
        separation.DEPTH = depth
        found = [separated(mask, NOT_LEARNED) for mask in masks]
        rows.add_row(name, "annotated", f"split at a depth of {depth:g}", "", *agreement(annotated, found), "")


def of_specialist(rows: Table, folder: Path, specialist: Path, most: int) -> None:
    """Add the rows of the masks of a specialist, with and without test-time augmentation."""
    names = json.loads((folder / "splits.json").read_text())["test"][:most]
    pairs = {pair.name: pair for pair in read_folder(folder).pairs}
    annotated = [objects_of(folder, name) for name in names]
    for tta in (False, True):
        loaded = load_specialist(specialist, tta=tta)
        predicted = Predicted.of(loaded.predict, [pairs[name] for name in names])
        settings: ObjectSettings = loaded.record.objects
        masks = "predicted, TTA" if tta else "predicted"
        kinds = {"connected parts": connected, "split": lambda mask, to=settings: separated(mask, to)}
        for kind, objects in kinds.items():
            scores = agreement(annotated, map(objects, predicted.masks))
            dice, seconds = f"{100 * predicted.dice:.1f}", f"{predicted.seconds:.2f}"
            rows.add_row(folder.resolve().name, masks, kind, dice, *scores, seconds)


@dataclass(frozen=True)
class Predicted:
    """Masks of the test images, their mean Dice (0 to 1), and the mean duration of a prediction, seconds."""

    masks: list[np.ndarray]
    dice: float
    seconds: float

    @classmethod
    def of(cls, predict: Callable[[np.ndarray], np.ndarray], pairs: Sequence[Pair]) -> "Predicted":
        """Predict the images of some pairs."""
        masks, dice, seconds = [], [], 0.0
        for pair in pairs:
            sample = pair.load()
            began = time.perf_counter()
            masks.append(predict(sample.image))
            seconds += time.perf_counter() - began
            dice.append(ImageScore.of(pair.name, masks[-1], sample.mask, sample.ignored_pixels).dice)
        return cls(masks, float(np.mean(dice)), seconds / len(pairs))


def objects_of(folder: Path, name: str) -> np.ndarray:
    """Return the annotated objects of an image, H W, numbered from 1 without gaps; 0 is background."""
    values = decode(next((folder / "instances").glob(f"{name}.*"))).values[..., 0]
    return np.unique(values, return_inverse=True)[1].reshape(values.shape)


def connected(mask: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask, H W, numbered from 1."""
    return ndimage.label(mask)[0]


def agreement(annotated: Sequence[np.ndarray], found: Iterable[np.ndarray]) -> tuple[str, str]:
    """Return AP50 and the error of the count, each the mean over the images."""
    scores, errors = [], []
    for truth, labels in zip(annotated, found, strict=True):
        scores.append(ap50(truth, labels))
        errors.append(abs(labels.max() - truth.max()) / truth.max())
    return f"{np.mean(scores):.3f}", f"{100 * np.mean(errors):.0f} %"


def ap50(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return AP50 of the objects of one image; an object has at most one match, because IoU above 0.5 is unique."""
    overlap = np.zeros((truth.max() + 1, labels.max() + 1))
    np.add.at(overlap, (truth.ravel(), labels.ravel()), 1)
    areas, found_areas, both = overlap[1:].sum(axis=1), overlap[:, 1:].sum(axis=0), overlap[1:, 1:]
    matched = int((both / (areas[:, None] + found_areas - both) > 0.5).sum())
    return matched / (len(areas) + len(found_areas) - matched)


if __name__ == "__main__":
    main()
