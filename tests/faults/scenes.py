"""The commands that the campaign disturbs, on tiny models, and what their results are, without times."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from ptsam_auto.own_files import LIST_FILE
from tests.search.toys import YAML
from tests.toys import toy_checkpoint, write_folder

FEW = ["--set", "recipe.epochs=2", "--set", "recipe.steps_per_epoch=2", "--set", "recipe.views=2"]
TIMES = ("seconds", "created", "time", "ended", "origin", "peak_bytes", "encoding", "encoded", "crc32")


@dataclass(frozen=True)
class Scene:
    """A command.

    Args:
        name: Name of the command.
        words: The command line, without its name.
        out: Names of the output folders, in the folder of the scene.
        result: Function that returns what has to be the same, from the folder of the scene.
        finished: What a finished command says when it is run again, or "" if it succeeds again.
    """

    name: str
    words: tuple[str, ...]
    out: tuple[str, ...]
    result: Callable[[Path], object]
    finished: str = ""

    def command(self, folder: Path) -> Callable[[], None]:
        """Return a function that runs the command in a folder."""

        def run() -> None:
            import os

            from ptsam_auto import start

            os.chdir(folder)
            sys.argv = ["ptsam-auto", self.name, *self.words]
            start.main()

        return run

    def clear(self, folder: Path) -> None:
        for name in self.out:
            path = folder / name
            shutil.rmtree(path, ignore_errors=True)


def lab(folder: Path) -> Path:
    """Make the inputs of all scenes: annotated images, a backbone, a search space, new images."""
    write_folder(folder / "discs", 4)
    toy_checkpoint(folder / "toy.safetensors")
    write_folder(folder / "new", 2, start=20)
    shutil.rmtree(folder / "new" / "masks")
    fewer = YAML.replace("trials: 4", "trials: 3").replace("recipe.epochs: 4", "recipe.epochs: 2")
    (folder / "toy.yaml").write_text(fewer.replace("train_images: 3", "train_images: 2") + "stop_early: false\n")
    return folder


def plain(content: object) -> object:
    """Return JSON without what depends on the clock."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items() if key not in TIMES}
    return [plain(value) for value in content] if isinstance(content, list) else content


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_fit(folder: Path) -> object:
    """The learned numbers bit for bit, and the record."""
    out = folder / "specialist"
    tensors = {name: digest(out / name) for name in ("specialist.safetensors", "folds.safetensors")}
    return tensors, plain(json.loads((out / "specialist.json").read_text())), (out / "report.html").exists()


def of_predict(folder: Path) -> object:
    """Every pixel and every table."""
    found = {}
    for name in ("masks", "overlays", "maps"):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix == ".png":
                with Image.open(path) as image:
                    found[str(path.relative_to(folder))] = (np.asarray(image).tobytes(), sorted(image.info.items()))
            elif path.suffix == ".tif":  # Its header has an identifier that is another one each time.
                found[str(path.relative_to(folder))] = tifffile.imread(path).tobytes()
            elif path.name == LIST_FILE:
                found[str(path.relative_to(folder))] = sorted(json.loads(path.read_text())["files"])
            elif path.is_file():
                found[str(path.relative_to(folder))] = path.read_bytes()
    return {name: hashlib.sha256(repr(content).encode()).hexdigest() for name, content in found.items()}


def of_search(folder: Path) -> object:
    """What is known of each trial."""
    from ptsam_auto.search.record import read_search

    found = read_search(folder / "search")
    trials = [
        (trial.number, trial.state, trial.configuration, [(rung.epoch, rung.folds, rung.loss) for rung in trial.rungs])
        for trial in found.trials
    ]
    files = sorted(path.name for path in (folder / "search").iterdir() if path.name != "lock")
    return trials, files, sorted(path.name for path in (folder / "search" / "figures").iterdir())


def of_compare(folder: Path) -> object:
    """The Dice of every image by every method."""
    from ptsam_auto.compare.record import JOURNAL_FILE, Event, Finished
    from ptsam_auto.experiment import journal

    events = journal.read(folder / "comparison" / JOURNAL_FILE, Event)[0]
    dice = {event.training.name: event.outcome.dice for event in events if isinstance(event, Finished)}
    files = sorted(path.name for path in (folder / "comparison").iterdir() if path.name != "lock")
    masks = {str(path): digest(path) for path in sorted((folder / "comparison" / "masks").rglob("*.png"))}
    figures = sorted(path.name for path in (folder / "comparison" / "figures").iterdir())
    return dice, files, {name.removeprefix(str(folder)): value for name, value in masks.items()}, figures


FIT = Scene(
    "fit",
    ("discs", "--out", "specialist", "--backbone", "toy.safetensors", "--folds", "2", "--no-track", *FEW),
    ("specialist",),
    of_fit,
    finished="specialist already contains a finished specialist.",
)
PREDICT = Scene(
    "predict",
    (
        *("ready", "new/images", "--out", "masks", "--overlays", "overlays", "--uncertainty", "maps"),
        *("--probability", "--measure", "--export", "geojson"),
    ),
    ("masks", "overlays", "maps"),
    of_predict,
)
SEARCH = Scene(
    "search",
    ("toy.yaml", "--data", "discs", "--out", "search", "--backbone", "toy.safetensors", "--no-track"),
    ("search",),
    of_search,
)
COMPARE = Scene(
    "compare",
    (
        *("discs", "--out", "comparison", "--backbone", "toy.safetensors", "--methods", "ptsam"),
        *("--sizes", "2", "--splits", "1", "--no-track", *FEW),
    ),
    ("comparison",),
    of_compare,
)
SCENES = (FIT, PREDICT, SEARCH, COMPARE)
