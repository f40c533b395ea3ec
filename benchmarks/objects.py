"""Measures how well touching objects are split, from the annotated masks alone, so without any model.

    python benchmarks/objects.py --data ../shared/data/nuclei_dsb2018 --data ../shared/data/livecell_mini

Each dataset has a folder instances/ with one number per object, and a splits.json with a train list, whose first 16
images are used. The foreground of each is separated into objects again, and compared with the annotated objects: AP50
(matched objects / all objects of both, matched if their IoU is above 0.5) and the error of the count, relative to the
count, each the mean over the images. `--depth` replaces the depth at which objects are split; it can be repeated.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy import ndimage

from ptsam_auto.data.raster import decode
from ptsam_auto.objects import separation
from ptsam_auto.terminal import Terminal

IMAGES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--depth", action="append", type=float)
    options = parser.parse_args()
    rows = Table("dataset", "method", "AP50", "error of the count")
    for folder in options.data:
        annotated = objects_of(folder)
        add_row(rows, folder, "connected parts", annotated, [ndimage.label(truth > 0)[0] for truth in annotated])
        for depth in options.depth or [separation.DEPTH]:
            separation.DEPTH = depth
            found = [separation.separated(truth > 0, separation.NOT_LEARNED) for truth in annotated]
            add_row(rows, folder, f"split at a depth of {depth:g}", annotated, found)
    Terminal().out.print(rows)


def objects_of(folder: Path) -> list[np.ndarray]:
    """Return the annotated objects of each image, H W, numbered from 1 without gaps; 0 is background."""
    names = json.loads((folder / "splits.json").read_text())["train"][:IMAGES]
    files = [next((folder / "instances").glob(f"{name}.*")) for name in names]
    stored = [decode(file).values[..., 0] for file in files]
    return [np.unique(values, return_inverse=True)[1].reshape(values.shape) for values in stored]


def add_row(rows: Table, folder: Path, method: str, annotated: list[np.ndarray], found: list[np.ndarray]) -> None:
    scores = [ap50(truth, labels) for truth, labels in zip(annotated, found, strict=True)]
    errors = [abs(labels.max() - truth.max()) / truth.max() for truth, labels in zip(annotated, found, strict=True)]
    rows.add_row(folder.resolve().name, method, f"{np.mean(scores):.3f}", f"{100 * np.mean(errors):.0f} %")


def ap50(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return AP50 of the objects of one image; an object has at most one match, because IoU above 0.5 is unique."""
    overlap = np.zeros((truth.max() + 1, labels.max() + 1))
    np.add.at(overlap, (truth.ravel(), labels.ravel()), 1)
    areas, found_areas, both = overlap[1:].sum(axis=1), overlap[:, 1:].sum(axis=0), overlap[1:, 1:]
    matched = int((both / (areas[:, None] + found_areas - both) > 0.5).sum())
    return matched / (len(areas) + len(found_areas) - matched)


if __name__ == "__main__":
    main()
