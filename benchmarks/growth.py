"""How time and memory of the commands grow, as log-log plots with the exponent beside each.

    OMP_NUM_THREADS=2 python benchmarks/growth.py --out results/growth
    python benchmarks/growth.py --out results/growth --only predict-side --draw

Every point is a whole command in a process of its own, on rendered images and `nano`, with its start and its end; the
memory is the peak of its largest process. The exponent is that between the last two points: 1 means that twice as much
takes twice as long, and the start of a command, which is the same for all, makes it smaller. What was measured before
is in OUT/growth.json, and is measured again only with --force. `--draw` draws it without measuring.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from ptsam_auto.data.render import render_example, write_example
from ptsam_auto.svg import PALETTE, save_svg

RUN = "from ptsam_auto.cli import main; main()"
QUICK = {"recipe.epochs": 2, "recipe.steps_per_epoch": 5, "recipe.views": 1, "method.tiles": 1}
FIT = ("--backbone", "nano", "--adapt", "decoder", "--no-track")
TEST_IMAGES, TRAIN_IMAGES, SEARCH_IMAGES = 4, 16, 8


@dataclass(frozen=True)
class Point:
    """A measured command.

    Args:
        size: What grows.
        seconds: Time of the command.
        gibibytes: Peak memory of its largest process.
    """

    size: int
    seconds: float
    gibibytes: float


@dataclass(frozen=True)
class Series:
    """A quantity that grows.

    Args:
        title: Command and quantity.
        axis: Name of the quantity.
        sizes: Its values.
        command: Returns the arguments for a value; it makes what they need in a folder.
    """

    title: str
    axis: str
    sizes: tuple[int, ...]
    command: Callable[[Path, int], list[str]]


def fit_images(folder: Path, count: int) -> list[str]:
    """Fit one configuration with a frozen encoder, one view of each image and 400 steps of two images."""
    return fit(folder, count, {**QUICK, "recipe.epochs": 20, "recipe.steps_per_epoch": 20})


def fit_views(folder: Path, views: int) -> list[str]:
    """Fit one configuration on 16 images with more views of each."""
    return fit(folder, TRAIN_IMAGES, {**QUICK, "recipe.views": views})


def fit(folder: Path, count: int, settings: dict[str, int]) -> list[str]:
    """Return the arguments of a fit that is measured on four test images."""
    write_example(folder / "train", count)
    write_example(folder / "test", TEST_IMAGES, seed=1)
    values = [part for path, value in settings.items() for part in ("--set", f"{path}={value}")]
    places = [str(folder / "train"), "--test", str(folder / "test"), "--folds", "0", "--out", str(folder / "out")]
    return ["fit", *places, *FIT, *values]


def predict_images(folder: Path, count: int) -> list[str]:
    """Predict images of 512 px."""
    write_example(folder / "new", count, seed=2)
    return predict(folder, folder / "new" / "images")


def predict_side(folder: Path, side: int) -> list[str]:
    """Predict one square image; the specialist shows the network tiles of 512 px."""
    (folder / "new").mkdir(parents=True)
    times = math.ceil(side / 512)
    tile = np.concatenate([render_example(number, seed=2).image for number in range(4)], axis=1)
    mosaic = np.tile(tile, (times, math.ceil(times / 4), 1))[:side, :side]
    tifffile.imwrite(folder / "new" / "mosaic.tif", mosaic, tile=(512, 512), photometric="rgb")
    return predict(folder, folder / "new")


def predict(folder: Path, images: Path) -> list[str]:
    """Return the arguments of a prediction by a quickly fitted specialist."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *fit(folder / "fit", TRAIN_IMAGES, QUICK)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return ["predict", str(folder / "fit" / "out"), str(images), "--out", str(folder / "masks")]


def search_trials(folder: Path, trials: int) -> list[str]:
    """Search with more trials of ten steps each, two at once."""
    write_example(folder / "data", SEARCH_IMAGES)
    space = folder / "space.yaml"
    fixed = "\n".join(f"  {path}: {value}" for path, value in QUICK.items())
    space.write_text(
        "adapt: decoder\nsearch:\n  recipe.learning_rate: {log_uniform: [0.001, 0.3]}\n"
        f"fixed:\n{fixed}\ntrials: {trials}\nsplits: 1\ntrain_images: 4\nresources: {{cpu: 1, gpu: 0, threads: 1}}\n"
    )
    data = ["--data", str(folder / "data"), "--backbone", "nano", "--out", str(folder / "out"), "--no-track"]
    return ["search", str(space), *data]


SERIES = {
    "fit-images": Series("fit, training images", "training images", (16, 64, 256, 1024, 4096), fit_images),
    "fit-views": Series("fit, views of 16 images", "views of each image", (1, 4, 16), fit_views),
    "predict-images": Series("predict, images", "images of 512 px", (4, 16, 64), predict_images),
    "predict-side": Series("predict, side of one image", "side, px", (512, 2048, 6144, 20480), predict_side),
    "search-trials": Series("search, trials", "trials of ten steps", (4, 16, 48, 192), search_trials),
}


def measured(name: str, size: int) -> Point:
    """Run the command for one size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own, because on Linux the peak of a child begins at that of its parent.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            arguments = pool.submit(SERIES[name].command, folder, size).result()
        home = {name: str(folder / name) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            env={**os.environ, **home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(said)
        return Point(size, round(time.perf_counter() - began, 2), round(usage.ru_maxrss / 2**20, 3))


def exponent(points: list[Point], what: str) -> float:
    """Return the exponent between the last two points."""
    before, last = points[-2:]
    found = math.log(getattr(last, what) / getattr(before, what)) / math.log(last.size / before.size)
    return round(found, 2) + 0.0  # never -0.00


def draw(found: dict[str, list[Point]], path: Path) -> None:
    """Draw time and memory of each series."""
    figure = Figure(figsize=(2.6 * len(found), 4.6), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False, sharey="row")
    for column, (name, points) in enumerate(found.items()):
        sizes = [point.size for point in points]
        for row, (what, unit) in enumerate([("seconds", "time, s"), ("gibibytes", "peak memory, GiB")]):
            ax = axes[row, column]
            ax.loglog(sizes, [getattr(point, what) for point in points], "o-", color=PALETTE[row])
            heading = f"{SERIES[name].title}\n" if row == 0 else ""
            ax.set_title(f"{heading}exponent {exponent(points, what):.2f}", fontsize=9)
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
            ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            ax.grid(visible=True, which="major", alpha=0.3)
            ticks = (1, 10, 100, 1000) if what == "seconds" else (0.5, 1, 2, 4)
            ax.set_ylim(ticks[0], ticks[-1])
            ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.tick_params(axis="y", which="minor", left=False, labelleft=False)
            if column == 0:
                ax.set_ylabel(unit)
        axes[1, column].set_xlabel(SERIES[name].axis)
    with path.open("w", encoding="utf-8") as file:
        save_svg(figure, file)


def main() -> None:
    """Measure what is not there yet, draw it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=SERIES, nargs="+", default=list(SERIES))
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "growth.json"
    saved = json.loads(path.read_text()) if path.exists() else {}
    found = {name: [Point(**point) for point in points] for name, points in saved.items()}
    for name in [] if options.draw else options.only:
        points = [] if options.force else found.get(name, [])
        for size in SERIES[name].sizes:
            if size not in {point.size for point in points}:
                points.append(measured(name, size))
                print(name, points[-1], file=sys.stderr, flush=True)
                found[name] = sorted(points, key=lambda point: point.size)
                content = {name: [asdict(point) for point in points] for name, points in found.items()}
                path.write_text(json.dumps(content, indent=1) + "\n")
    found = {name: found[name] for name in SERIES if len(found.get(name, [])) > 1}
    draw(found, options.out / "growth.svg")
    table = Table("what grows", "sizes", "seconds", "exponent", "GiB", "exponent")
    for name, points in found.items():
        columns = [[f"{getattr(point, what):,g}" for point in points] for what in ("size", "seconds", "gibibytes")]
        sizes, seconds, memory = (", ".join(column) for column in columns)
        times, space = (f"{exponent(points, what):.2f}" for what in ("seconds", "gibibytes"))
        table.add_row(SERIES[name].title, sizes, seconds, times, memory, space)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
