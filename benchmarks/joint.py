"""Measures how many prompt sets an hour are trained together in one process, beside separate processes.

    python benchmarks/joint.py [--backbone nano] [--sets 1 4 16] [--threads 1 2] [--steps 5] [--rounds 5]

Each prompt set has its own images (rendered; each set leaves out another one), learning rate and initial prompts; the
settings are the defaults of the backbone. Everything is encoded before the measurement. In each round all variants
train a few steps, in turn; an hour is extrapolated from the seconds per step and the number of steps of the defaults.
"separate" divides the sets among as many processes as there are CPU cores, each of one thread; starting them does not
count. Report the medians of the rounds, and on a busy machine with one thread the ratio of the CPU times: that of the
rates says as much about the other programs.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.render import write_example
from ptsam_auto.sam import checkpoint
from ptsam_auto.training import defaults, loop
from ptsam_auto.training.run import Job, Run
from ptsam_auto.training.settings import Settings

VIEWS = 2  # Each image is encoded in this many views; how many there are does not change the time of a step.
WAYS = ("one after another", "together")


def prepared(backbone: str, scratch: Path, numbers: list[int], steps: int, device: str) -> list[Run]:
    """Return the runs of some prompt sets, with everything encoded."""
    loaded = checkpoint.load(backbone)
    values = {**defaults.values(loaded.family, "decoder"), "recipe.views": VIEWS, "recipe.steps_per_epoch": steps}
    settings = Settings.from_paths(values)
    pairs = read_folder(scratch / "example").pairs[:8]
    runs = []
    for number in numbers:
        recipe = replace(settings.recipe, learning_rate=settings.recipe.learning_rate * 0.9**number)
        images = tuple(pair for index, pair in enumerate(pairs) if index != number % len(pairs))
        run = Run(Job(loaded, replace(settings, recipe=recipe), images, 0), device, scratch / "bank")
        run.encode()
        with torch.no_grad():
            run.model.decoder_prompts += 0.01 * number
        runs.append(run)
    return runs


def train(runs: list[Run], together: bool, device: str) -> tuple[float, float]:
    """Train an epoch of each run, together or one after another; return the duration and the CPU time, seconds."""
    began, cpu_began = time.perf_counter(), time.process_time()
    for group in [runs] if together else [[run] for run in runs]:
        loop.epoch([run.trainee for run in group])
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - cpu_began


def work(pipe: Connection, arguments: tuple) -> None:
    """Train the first sets of this process, as many as the parent asks for, until it asks for none."""
    torch.set_num_threads(1)
    runs = prepared(*arguments)
    train(runs[:1], together=False, device="cpu")
    pipe.send("ready")
    while count := pipe.recv():
        train(runs[:count], together=False, device="cpu")
        pipe.send("done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--sets", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    cores = os.cpu_count() or 1
    most = max(options.sets)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_example(scratch / "example")
        runs = prepared(options.backbone, scratch, list(range(most)), options.steps, options.device)
        steps = defaults.values(runs[0].job.backbone.family, "decoder")
        total_steps = Settings.from_paths(steps).recipe.steps

        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for number in range(cores):
            ours, theirs = context.Pipe()
            own = list(range(number, most, cores)) or [0]
            arguments = (options.backbone, scratch, own, options.steps, "cpu")
            process = context.Process(target=work, args=(theirs, arguments), daemon=True)
            process.start()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            pipe.recv()

        def separate(count: int) -> float:
            began = time.perf_counter()
            shares = [len(range(number, count, cores)) for number in range(cores)]
            busy = [(pipe, share) for pipe, share in zip(pipes, shares, strict=True) if share]
            for pipe, share in busy:
                pipe.send(share)
            for pipe, _ in busy:
                pipe.recv()
            return time.perf_counter() - began

        rates: dict[tuple[str, int], list[float]] = {}
        cpu_seconds: dict[tuple[str, int], list[float]] = {}
        train(runs[:1], together=True, device=options.device)
        for _ in range(options.rounds):
            for count in options.sets:
                seconds = {}
                for threads in options.threads:
                    torch.set_num_threads(threads)
                    for way in WAYS if count > 1 else WAYS[-1:]:
                        name = f"{way}, {threads} threads"
                        seconds[name], spent = train(runs[:count], way == "together", options.device)
                        cpu_seconds.setdefault((name, count), []).append(spent)
                seconds[f"separate, {cores} processes"] = separate(count)
                for name, spent in seconds.items():
                    hourly = 3600 * count * options.steps / spent / total_steps
                    rates.setdefault((name, count), []).append(hourly)
        for pipe in pipes:
            pipe.send(0)
        for process in processes:
            process.join()

    print(f"{options.backbone} on {options.device}: prompt sets an hour, of {total_steps} steps each")
    for (name, count), values in sorted(rates.items(), key=lambda item: (item[0][1], item[0][0])):
        print(f"{count:>3} {name:<32} {statistics.median(values):6.1f} ({min(values):.1f} to {max(values):.1f})")
    for count in options.sets:
        for threads in options.threads if count > 1 else []:
            after, together = (rates[f"{way}, {threads} threads", count] for way in WAYS)
            cpu_after, cpu_together = (cpu_seconds[f"{way}, {threads} threads", count] for way in WAYS)
            for kind, above, below in (("rates", together, after), ("CPU time", cpu_after, cpu_together)):
                ratios = sorted(a / b for a, b in zip(above, below, strict=True))
                print(
                    f"{count:>3} together, {threads} threads, by {kind}: {statistics.median(ratios):.2f} times as fast "
                    f"as one after another ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )
    print(f"{cores} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
