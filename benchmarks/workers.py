"""How much faster two workers tune the encoder than one, each with one thread, through Ray Train both.

    python benchmarks/workers.py --backbone nano [--batch-size 2] [--epochs 4] [--steps 5] [--rounds 3]

Rendered images, deep prompts, fresh views; time is that of the training steps, start-up left out (it is printed too).
Rounds alternate between one worker and two; medians count. The first epoch warms up and is not counted. Memory is what
a worker has to itself (USS), at its highest.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.render import write_example
from ptsam_auto.distributed.train import Job, train_together
from ptsam_auto.methods import registry
from ptsam_auto.sam import checkpoint
from ptsam_auto.training import defaults, loop
from ptsam_auto.training.settings import Settings


@contextmanager
def watching(peaks: list[int]) -> Iterator[None]:
    """Note the most memory that any of Ray Train's workers had to itself, bytes."""
    over, most = threading.Event(), 0

    def watch() -> None:
        nonlocal most
        while not over.wait(0.2):
            for process in psutil.process_iter(["cmdline"]):
                if process.info["cmdline"] and "RayTrainWorker" in process.info["cmdline"][0]:
                    try:
                        most = max(most, process.memory_full_info().uss)
                    except psutil.Error:
                        continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        peaks.append(most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    backbone = checkpoint.load(options.backbone)
    values = {default.path: default.value for default in defaults.block(backbone.family, "encoder")}
    values |= {"recipe.epochs": options.epochs, "recipe.steps_per_epoch": options.steps}
    settings = Settings.from_paths({**values, "recipe.batch_size": options.batch_size})
    seconds: dict[int, list[float]] = {1: [], 2: []}
    memory: dict[int, list[int]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as scratch:
        write_example(Path(scratch) / "example")
        pairs = read_folder(Path(scratch) / "example").pairs
        for number in range(options.rounds):
            for workers in seconds:
                folder = Path(scratch) / f"{number}-{workers}"
                folder.mkdir()
                job = Job(
                    backbone=backbone.name,
                    sha256=backbone.sha256,
                    settings=settings,
                    pairs=pairs,
                    seed=0,
                    key=f"{number}-{workers}-of-a-benchmark",
                    bank=folder / "bank",
                    workers=workers,
                    threads=1,
                )
                began = time.perf_counter()
                training = loop.start(registry.build(backbone.sam, settings.method, 0), settings.recipe)
                with watching(memory[workers]):
                    curve = train_together(job, training, folder, use_gpu=False)
                steps = [report.seconds / options.steps for report in curve[1:]]
                seconds[workers].append(median(steps))
                rest = time.perf_counter() - began - sum(report.seconds for report in curve)
                print(f"{workers} workers: {seconds[workers][-1]:.2f} s a step, {rest:.0f} s of starting and ending")
    one, two = (median(seconds[workers]) for workers in (1, 2))
    ratios = sorted(a / b for a, b in zip(seconds[1], seconds[2], strict=True))
    learned = sum(parameter.numel() for parameter in training.model.trainable().values())
    print(f"{one:.2f} s and {two:.2f} s a step: {one / two:.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}),")
    print(
        f"efficiency {one / two / 2:.0%}; {learned:,} numbers learned, {4 * learned / 1024:.0f} KB of gradients a step"
    )
    most = {workers: max(found) / 2**20 for workers, found in memory.items()}
    print(f"at most {most[1]:,.0f} MiB of its own a worker alone, {most[2]:,.0f} MiB each of two")


if __name__ == "__main__":
    main()
