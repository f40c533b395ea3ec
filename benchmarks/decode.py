"""Compares a step through our mask decoder with segment_anything's own: CPU time forward and backward, in one run.

    OMP_NUM_THREADS=1 python benchmarks/decode.py nano
    OMP_NUM_THREADS=1 python benchmarks/decode.py lite_medsam --rounds 9

The two versions run in turn with the same weights and the same random features; report the ratio of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from plain import decoded
from torch import Tensor

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.mask_decoder import decode

BATCH, PROMPTS = 2, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", choices=["nano", "lite_medsam"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sam = checkpoint.load(options.backbone).sam
    with torch.no_grad():
        size = sam.image_encoder.img_size
        grid = sam.image_encoder(torch.zeros(1, 3, size, size)).shape[-1]
    torch.manual_seed(0)
    features = 0.3 * torch.randn(BATCH, 256, grid, grid)
    prompts = torch.randn(PROMPTS, 256).requires_grad_()
    versions: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: decode(sam, features, prompts, 1),
        "theirs": lambda: decoded(sam, features, prompts, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for run in range(options.rounds + 1):
        for name, masks in versions.items():
            began = time.process_time()
            masks().sigmoid().mean().backward()
            if run:  # The first round is for warming up.
                seconds[name].append(time.process_time() - began)
    ours, theirs = (statistics.median(seconds[name]) for name in versions)
    print(f"{options.backbone}: ours {ours:.3f} s, theirs {theirs:.3f} s, theirs / ours {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
