"""A whole `fit` of one configuration with a frozen encoder, or a `search`, beside that of an earlier commit.

    python benchmarks/whole_fit.py --commit 7cfdf4a
    python benchmarks/whole_fit.py --commit 7cfdf4a --data TRAIN TEST
    python benchmarks/whole_fit.py --commit 7cfdf4a --search --data TRAIN TEST

Both run as commands, in turn, with the same packages, the same images and the default settings of the earlier commit
for `nano` at that time; the times are those of the whole command, with start, measuring (of the test images, and of
the untuned SAM on them), report and MLflow. Without --data the images are rendered: 24 as `ptsam-auto example` makes
them, and 8 to measure on. The earlier commit is checked out beside this one, into a temporary folder.

`--search` runs four trials of the space `decoder` that are given, on two splits of TRAIN, so that both do the same.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ptsam_auto.data.render import write_example

ROOT = Path(__file__).parents[1]
RUN = "from ptsam_auto.cli import main; main()"
SETTINGS = {  # of 7cfdf4a, for nano
    "method.decoder_prompts": 4,
    "method.mask_token": 0,
    "method.prompt_std": 0.021537211767099225,
    "method.tiles": 2,
    "recipe.learning_rate": 0.09012700490657741,
    "recipe.epochs": 40,
    "recipe.steps_per_epoch": 20,
    "recipe.views": 16,
}
TEST_IMAGES = 8
SEARCH = """adapt: decoder
search:
  recipe.learning_rate: {log_uniform: [0.001, 0.3]}
  recipe.epochs: {choice: [10, 20, 40, 80]}
  method.decoder_prompts: {choice: [1, 2, 4, 8, 16]}
first:
  - {recipe.learning_rate: 0.09, recipe.epochs: 40, method.decoder_prompts: 4}
  - {recipe.learning_rate: 0.05, recipe.epochs: 40, method.decoder_prompts: 8}
  - {recipe.learning_rate: 0.05, recipe.epochs: 20, method.decoder_prompts: 8}
  - {recipe.learning_rate: 0.02, recipe.epochs: 20, method.decoder_prompts: 2}
fixed: {method.mask_token: 0, recipe.views: 16, method.tiles: 2}
trials: 4
splits: 2
train_images: 12
resources: {cpu: 1, gpu: 0, threads: 1}
"""


def searched(code: Path, folder: Path, data: tuple[Path, Path], own: list[str]) -> tuple[float, float]:  # noqa: ARG001
    """Return the seconds of a search with the code in a folder, and the Dice of its best trial, 0 to 100."""
    (folder / "space.yaml").write_text(SEARCH)
    call = ["search", "space.yaml", "--data", str(data[0]), "--backbone", "nano", "--out", "found"]
    return timed(code, folder, call, r"Dice (\d+\.\d)")


def fitted(code: Path, folder: Path, data: tuple[Path, Path], own: list[str]) -> tuple[float, float]:
    """Return the seconds of a fit with the code in a folder, and its Dice on the test images, 0 to 100."""
    train, test = map(str, data)
    call = ["fit", train, "--backbone", "nano", "--test", test, *own, "--out", "specialist"]
    return timed(code, folder, call, r"Dice (\d+\.\d) \+-")


def timed(code: Path, folder: Path, call: list[str], of_dice: str) -> tuple[float, float]:
    """Return the seconds of a command with the code in a folder, and the last Dice that it says, 0 to 100."""
    home = {name: str(folder / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment = {**os.environ, "PYTHONPATH": str(code), **home}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *call],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    said = " ".join((done.stdout + done.stderr).split())
    found = re.findall(of_dice, said)
    if done.returncode or not found:
        raise SystemExit(said)
    return seconds, float(found[-1])


def rendered(folder: Path) -> tuple[Path, Path]:
    """Return two folders of rendered images: to train on, and to measure on."""
    train, test = folder / "example", folder / "test"
    write_example(train)
    write_example(test, TEST_IMAGES, seed=1)
    return train, test


def main() -> None:
    """Run both in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="7cfdf4a")
    parser.add_argument("--data", nargs=2, type=Path, metavar=("TRAIN", "TEST"))
    parser.add_argument("--search", action="store_true", help="Compare a search.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        earlier = folder / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(earlier), options.commit], check=True, capture_output=True)
        try:
            data = tuple(path.resolve() for path in options.data) if options.data else rendered(folder)
            values = [part for path, value in SETTINGS.items() for part in ("--set", f"{path}={value}")]
            versions = {options.commit: (earlier, []), "now": (ROOT, ["--folds", "0", "--adapt", "decoder", *values])}
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in versions}
            for number in range(options.rounds):
                for name, (code, own) in versions.items():
                    place = folder / f"{name}-{number}"
                    place.mkdir()
                    found[name].append((searched if options.search else fitted)(code, place, data, own))
                    print(f"round {number}, {name}: %.1f s, Dice %.1f" % found[name][-1], file=sys.stderr, flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(earlier)], check=True)
    table = Table("version", "seconds of the command, median (range)", "Dice, median")
    for name, runs in found.items():
        seconds, dice = zip(*runs, strict=True)
        spread = f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})"
        table.add_row(name, spread, f"{statistics.median(dice):.1f}")
    ratios = [then[0] / now[0] for then, now in zip(*found.values(), strict=True)]
    Console().print(table)
    Console().print(f"Times as fast: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
