"""Our image encoder against segment_anything's own: seconds, peak memory, and their ratio, in one run.

    python benchmarks/encode.py nano --batch 4
    python benchmarks/encode.py vit_b --batch 1 --rounds 3

Runs alternate, each in the same process; the median of their ratios is what to quote. Peak memory is measured in a
fresh process for each, as growth over what the loaded network takes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch

from ptsam_auto.sam.encode import encode
from ptsam_auto.sam.generalist import ARCHITECTURES, build


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()

    memory = {}
    if not options.memory_of:
        # First, while this process is small: on Linux a child's peak starts at its parent's.
        for name in ("ours", "theirs"):
            command = [
                sys.executable,
                __file__,
                options.architecture,
                "--batch",
                str(options.batch),
                "--memory-of",
                name,
            ]
            memory[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    torch.manual_seed(0)
    architecture = ARCHITECTURES[options.architecture]
    encoder = build(architecture).image_encoder
    images = torch.randn(options.batch, 3, architecture.image_size, architecture.image_size)
    candidates = {"ours": lambda: encode(encoder, images), "theirs": lambda: encoder(images)}

    if options.memory_of:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        candidates[options.memory_of]()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        return

    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - began) / options.batch)
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)]
    for name, values in seconds.items():
        print(
            f"{name:>6}: {statistics.median(values):.3f} s an image, {memory[name]} MiB for a batch of {options.batch}"
        )
    print(f"theirs / ours: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, random weights")


if __name__ == "__main__":
    main()
