"""Measures how much faster two workers tune the encoder than one. Both use Ray Train, with one thread per worker.

    python benchmarks/workers.py --backbone nano [--batch-size 2] [--epochs 4] [--steps 5] [--rounds 3]

The images are artificial; the encoder has deep prompts, and every step uses new views. The time is that of the training
steps without the start, which is printed separately. Rounds alternate between one worker and two, and the medians are
compared. The first epoch is a warm-up and does not count. Memory is the peak of the memory that only the worker uses
(USS).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.render import write_example
from ptsam_auto.distributed.workers_trainer import WorkersTrainer
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist.learned import learned_size
from ptsam_auto.terminal import repeatedly
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer


@contextmanager
def peak_memory_recorded(peaks: list[int]) -> Iterator[None]:
    """Append the peak memory (USS, bytes) of the largest worker of Ray Train to `peaks`, measured inside the block."""
    peak = 0

    def look() -> None:
        nonlocal peak
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] and "RayTrainWorker" in process.info["cmdline"][0]:
                try:
                    peak = max(peak, process.memory_full_info().uss)
                except psutil.Error:
                    continue

    with repeatedly(look, 0.2):
        yield
    peaks.append(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="Number of steps per epoch.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    backbone = checkpoint.load(options.backbone)
    values = defaults.values(backbone.family, "encoder")
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
                trainer = WorkersTrainer(SamTrainer(backbone, settings), workers, threads=1)
                began = time.perf_counter()
                with peak_memory_recorded(memory[workers]):
                    trained = trainer.train(pairs, 0, folder, "cpu")
                steps = [spent / options.steps for spent in trained.curve["seconds"][1:]]
                seconds[workers].append(median(steps))
                rest = time.perf_counter() - began - trained.seconds
                print(
                    f"{workers} workers: {seconds[workers][-1]:.2f} s per step, {rest:.0f} s for the start and the end"
                )
    one_worker, two_workers = (median(seconds[workers]) for workers in (1, 2))
    ratios = sorted(a / b for a, b in zip(seconds[1], seconds[2], strict=True))
    learned = learned_size(trained.model).trainable
    speedup = one_worker / two_workers
    print(f"{one_worker:.2f} s with one worker and {two_workers:.2f} s with two workers per step:")
    print(f"{speedup:.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}), efficiency {speedup / 2:.0%};")
    print(f"{learned:,} learned numbers, {4 * learned / 1024:.0f} KB of gradients per step")
    peak = {workers: max(peaks) / 2**20 for workers, peaks in memory.items()}
    print(f"peak memory per worker: {peak[1]:,.0f} MiB with one worker, {peak[2]:,.0f} MiB with two workers")


if __name__ == "__main__":
    main()
