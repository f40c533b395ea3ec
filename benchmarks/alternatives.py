"""What is not used on a CPU, beside what is: PyTorch's compiler, and bfloat16 for the mask decoder.

    OMP_NUM_THREADS=2 python benchmarks/alternatives.py
    OMP_NUM_THREADS=2 python benchmarks/alternatives.py --only nano --rounds 7

All versions run in turn in one process with the same weights and inputs. The seconds of the first call are those of
compiling; nothing that an earlier process has compiled is used. The difference is the norm of that of the results
(features; gradients of the prompts), relative to ours.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from encode import encoders
from gpu import MASK_TOKEN, PROMPTS, STEP_IMAGES, difference, features_of, gradient, learned
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.mask_decoder import decode


@dataclass
class Way:
    """A way to do the same work.

    Args:
        name: Name of the way.
        run: Does the work, and returns its result.
        first: Seconds of the first call.
        seconds: Seconds of each further call.
    """

    name: str
    run: Callable[[], Tensor]
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)


def encoding(name: str) -> list[Way]:
    """Return the ways to encode an image without gradients."""
    candidates, size = encoders(name)
    used = candidates.get("bfloat16", candidates["ptsam-auto"])
    images, compiled = torch.rand(1, 3, size, size), torch.compile(used)
    ways = {"ours": used, "compiled": compiled}
    return [Way(way, partial(without_gradients, encode, images)) for way, encode in ways.items()]


@torch.no_grad()
def without_gradients(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the features of images."""
    return encode(images)


def decoder_step(name: str) -> list[Way]:
    """Return the ways to take a step with decoder prompts."""
    sam = checkpoint.load(name).sam
    features, prompts = features_of(sam, STEP_IMAGES), learned(sam, PROMPTS)
    compiled = torch.compile(decode)

    def lower() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return decode(sam, features, prompts, MASK_TOKEN).float()

    return [
        Way("ours", gradient(lambda: decode(sam, features, prompts, MASK_TOKEN), prompts)),
        Way("compiled", gradient(lambda: compiled(sam, features, prompts, MASK_TOKEN), prompts)),
        Way("bfloat16", gradient(lower, prompts)),
    ]


def main() -> None:
    """Measure everything, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["nano", "lite_medsam"], choices=["nano", "lite_medsam"])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for name in options.only:
            for title, ways in (
                ("encoding an image", encoding(name)),
                ("step with decoder prompts", decoder_step(name)),
            ):
                console.print(measured(f"{name}: {title}", ways, options.rounds))


def measured(title: str, ways: list[Way], rounds: int) -> Table:
    """Run the ways in turn, and return their table."""
    results = []
    for way in ways:
        began = time.perf_counter()
        results.append(way.run().clone())
        way.first = time.perf_counter() - began
    for _ in range(rounds):
        for way in ways:
            began = time.perf_counter()
            way.run()
            way.seconds.append(time.perf_counter() - began)
    table = Table("way", "first call, s", "s", "times as fast", "difference", title=title, title_justify="left")
    for way, result in zip(ways, results, strict=True):
        ratios = [ours / own for ours, own in zip(ways[0].seconds, way.seconds, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        seconds = f"{statistics.median(way.seconds):.3f}"
        table.add_row(way.name, f"{way.first:.1f}", seconds, spread, f"{difference(result, results[0]):.0e}")
    return table


if __name__ == "__main__":
    main()
