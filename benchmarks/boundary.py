"""Does a boundary class, trained beside the inside of objects, split touching objects better than a watershed?

    python benchmarks/boundary.py --data ../shared/data/nuclei_dsb2018 --data ../shared/data/livecell_mini

Each dataset has a folder instances/ with one number per object, and a splits.json. One member of the portfolio is
trained twice on the first 16 images of the train list: on the foreground, and on two classes that exclude each other,
the inside of an object and its rim, which is a part of the median radius of the training objects wide. The objects of
the first are split as in `predict --instances`; those of the second are the connected insides, which grow into the rim.
AP50 and the error of the count on the images of the test list are those of `benchmarks/objects.py`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from objects import agreement, objects_of
from PIL import Image
from rich.table import Table
from scipy import ndimage
from skimage.segmentation import watershed

from ptsam_auto import fit
from ptsam_auto.data.folder import read_folder
from ptsam_auto.metrics.dice import Counts
from ptsam_auto.objects.separation import separated
from ptsam_auto.terminal import Terminal

TRAIN_IMAGES = 16
INSIDE, RIM = 1, 2  # numbers of the classes


def main() -> None:
    """Fit both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--member", default="nano-encoder-tiles-4")
    parser.add_argument("--most-test", type=int, default=30, help="Largest number of test images.")
    parser.add_argument("--rim", type=float, default=0.3, help="Width of the rim, of the median radius.")
    options = parser.parse_args()
    rows = Table("dataset", "trained on", "objects", "Dice of the foreground", "AP50", "error of the count", "seconds")
    for data in options.data:
        lists = json.loads((data / "splits.json").read_text())
        train, test = lists["train"][:TRAIN_IMAGES], lists["test"][: options.most_test]
        width = max(1.0, options.rim * median_radius([objects_of(data, name) for name in train]))
        annotated = [objects_of(data, name) for name in test]
        for with_rim in (False, True):
            with tempfile.TemporaryDirectory() as work:
                folder = Path(work)
                for part, names in (("train", train), ("test", test)):
                    write(data, names, folder / part, width if with_rim else None)
                began = time.perf_counter()
                places = {"test": folder / "test", "out": folder / "made"}
                made = fit(folder / "train", **places, member=options.member, folds=0, allow_blank=True, track=False)
                seconds = time.perf_counter() - began
                pairs = {pair.name: pair for pair in read_folder(folder / "test").pairs}
                masks = [made.predict(pairs[name].load().image) for name in test]
            if with_rim:
                found = [grown(mask) for mask in masks]
            else:
                found = [separated(mask, made.record.objects) for mask in masks]
            dice = np.mean([Counts.of(mask > 0, truth > 0).dice for mask, truth in zip(masks, annotated, strict=True)])
            what = f"inside and rim of {width:.1f} px" if with_rim else "foreground"
            how = "insides, grown" if with_rim else "split"
            scores = agreement(annotated, found)
            rows.add_row(data.resolve().name, what, how, f"{100 * dice:.1f}", *scores, f"{seconds:.0f}")
    Terminal().out.print(rows)


def median_radius(annotated: Sequence[np.ndarray]) -> float:
    """Return the median over the objects of the radius of a circle of their area, px."""
    areas = np.concatenate([np.bincount(objects.ravel())[1:] for objects in annotated])
    return float(np.median(np.sqrt(areas / np.pi)))


def write(data: Path, names: Sequence[str], folder: Path, width: float | None) -> None:
    """Write images with their masks: the foreground as 0 and 255, or with a width the classes inside and rim."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in names:
        image = next((data / "images").glob(f"{name}.*"))
        (folder / "images" / image.name).write_bytes(image.read_bytes())
        objects = objects_of(data, name)
        numbers = np.where(objects > 0, 255, 0) if width is None else classes_of(objects, width)
        Image.fromarray(numbers.astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    if width is not None:
        legend = {"background": 0, "inside": INSIDE, "rim": RIM}
        (folder / "classes.json").write_text(json.dumps(legend))


def classes_of(objects: np.ndarray, width: float) -> np.ndarray:
    """Return the inside and the rim of objects: the rim is what is at most `width` px from what is another object."""
    numbers = np.zeros(objects.shape, np.uint8)
    for number, place in enumerate(ndimage.find_objects(objects), start=1):
        # With a margin, so that the edge of the box is not taken for the edge of the image.
        box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in place)
        own = objects[box] == number
        distance = ndimage.distance_transform_edt(own)
        numbers[box][own] = np.where(distance[own] > width, INSIDE, RIM)
    return numbers


def grown(classes: np.ndarray) -> np.ndarray:
    """Return the objects of a prediction: each connected inside, grown into the rim around it."""
    insides, _ = ndimage.label(classes == INSIDE)
    distance = ndimage.distance_transform_edt(classes != INSIDE)
    return watershed(distance, insides, mask=classes > 0)


if __name__ == "__main__":
    main()
