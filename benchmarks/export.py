"""Compares an export as ONNX with PyTorch: time of a prediction, largest difference, Dice between the masks.

    OMP_NUM_THREADS=1 python benchmarks/export.py SPECIALIST --images ../shared/data/nuclei_dsb2018/images --rounds 5

The specialist is exported twice into a temporary folder: as it is, and with matrices of 8-bit integers (int8). The
time is that of `probability(image)`, with reading left out. All run in turn on the same images in the same process, on
the same number of threads; report the median of the ratios. PyTorch is measured in float32, and as it predicts: in
bfloat16, if the CPU multiplies it in hardware. Difference and Dice are those to float32.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.render import render_example
from ptsam_auto.onnx.export import Comparison, export
from ptsam_auto.onnx.runtime import OnnxSpecialist
from ptsam_auto.sam.precision import full_precision, multiplies_bfloat16
from ptsam_auto.specialist.artifact import load_specialist
from ptsam_auto.specialist.masks import reading_of

Probability = Callable[[np.ndarray], np.ndarray]
REFERENCE = "PyTorch, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specialist", type=Path)
    parser.add_argument("--images", type=Path, help="Folder of images; rendered ones by default.")
    parser.add_argument("--most-images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    specialist = load_specialist(options.specialist, device="cpu")
    images = [render_example(index).image for index in range(options.most_images)]
    if options.images:
        reading = reading_of(specialist)
        sources = find_new_images([options.images], reading).sources[: options.most_images]
        images = [source.image.read(0, reading) for source in sources]

    def in_full_precision(image: np.ndarray) -> np.ndarray:
        with full_precision():
            return specialist.model.probability(image)

    ways: dict[str, Probability] = {REFERENCE: in_full_precision}
    if multiplies_bfloat16("cpu"):
        ways["PyTorch, bfloat16"] = specialist.model.probability
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        for name, quantise in (("ONNX", False), ("ONNX, int8", True)):
            exported = Path(folder) / name
            exported.mkdir()
            export(exported, specialist, images[:1], quantise=quantise)
            ways[name] = OnnxSpecialist(exported, threads=torch.get_num_threads()).probability
            sizes[name] = sum(path.stat().st_size for path in exported.glob("*.onnx")) / 1e6
        report(ways, images, options.rounds)
    print(", ".join(f"{name}: {size:.0f} MB" for name, size in sizes.items()))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")


def report(ways: dict[str, Probability], images: list[np.ndarray], rounds: int) -> None:
    """Print time, ratio, difference and Dice of each way."""
    maps = {name: [probability(image) for image in images] for name, probability in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, probability in ways.items():
            began = time.perf_counter()
            for image in images:
                probability(image)
            seconds[name].append((time.perf_counter() - began) / len(images))
    for name, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[REFERENCE], values, strict=True)]
        compared = Comparison.of(maps[REFERENCE], maps[name])
        print(
            f"{name:>18}: {statistics.median(values):.3f} s an image ({min(values):.3f} to {max(values):.3f}), "
            f"{statistics.median(ratios):.2f} times as fast as {REFERENCE} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"largest difference {compared.difference:.2g}, Dice {compared.dice:.4f}"
        )


if __name__ == "__main__":
    main()
