"""Measures how well the object in a box is found, as the tool of `annotate` does it: IoU with the annotated object.

    python benchmarks/boxes.py --data ../shared/data/nuclei_dsb2018 --data ../shared/data/livecell_mini

Each dataset has a folder instances/ with one number per object, and a splits.json. Of the first images of the train
list some objects are drawn by chance. Each side of a box is up to 5 % of the object's side off. The seconds are those
of one box.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from rich.table import Table

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.raster import decode
from ptsam_auto.terminal import Terminal
from ptsam_auto.web.boxes import CONTEXTS, Boxes

OFF = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--objects", type=int, default=5, help="Number of objects of each image.")
    options = parser.parse_args()
    rows = Table("backbone", "dataset", "objects", "mean IoU", "median IoU", "seconds a box")
    for backbone in CONTEXTS:
        for folder in options.data:
            found, seconds = measured(Boxes(backbones=(backbone,)), folder, options.images, options.objects)
            scores = f"{np.mean(found):.2f}", f"{np.median(found):.2f}"
            rows.add_row(backbone, folder.resolve().name, str(len(found)), *scores, f"{np.median(seconds):.2f}")
    Terminal().out.print(rows)


def measured(tool: Boxes, folder: Path, images: int, objects: int) -> tuple[list[float], list[float]]:
    """Return the IoU and the seconds of each object."""
    rng, pairs = np.random.default_rng(0), {pair.name: pair for pair in read_folder(folder).pairs}
    found, seconds = [], []
    for name in json.loads((folder / "splits.json").read_text())["train"][:images]:
        image = pairs[name].load().image
        numbers = decode(next((folder / "instances").glob(f"{name}.*"))).values[..., 0]
        for number in rng.permutation(np.setdiff1d(numbers, [0]))[:objects]:
            annotated = numbers == number
            began = time.perf_counter()
            mask = tool.mask(image, box_around(annotated, rng))
            seconds.append(time.perf_counter() - began)
            found.append(float((mask & annotated).sum() / (mask | annotated).sum()))
    return found, seconds


def box_around(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return a box around an object, as a person draws it."""
    rows, columns = np.nonzero(mask)
    sides = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
    size = np.array([sides[2] - sides[0], sides[3] - sides[1]] * 2)
    left, top, right, bottom = sides + rng.uniform(-OFF, OFF, 4) * size
    height, width = mask.shape
    return max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)


if __name__ == "__main__":
    main()
