"""Everything that the speed page claims for a CPU, in one table: ours beside what a user could have picked.

    python benchmarks/speed.py
    python benchmarks/speed.py --only nano --rounds 3

"Published" is the code of segment_anything (of LiteMedSAM for its encoder) in float32; for deep prompts the tokens are
inserted into its blocks in the plain way. Ours is what `fit` does: the encoder multiplies in bfloat16 where the CPU
does so in hardware, the rest is float32. Both run in turn in one process, with the same weights and inputs; the times
are medians, and the ratio is that of each round. The difference is that of the features (or of the gradients of the
prompts) relative to their norm, with ours in float32. A step has two images (one for deep prompts on ViT-B, whose plain
way needs 9 GB for each) and is a forward and a backward pass.

The last rows are not pairs of the same work:

- "the arithmetic": the multiplications of a step, counted by PyTorch, at the rate of a large product of matrices; the
  ratio is how many times as long our step takes. Nothing that computes in float32 can be faster.
- "8 sets together": a step of 8 prompt sets, beside 8 separate ones.
- "a whole training": what the paper describes (each step encodes two new views) beside the bank of encoded views, for
  the defaults of the backbone and 16 images, computed from the measured parts.
- "--help": the time until `ptsam-auto --help` has ended, beside that until torch is imported.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from encode import encoders
from gpu import Version, decoder_prompts, difference, inputs, measure, randomised, several_sets
from plain import inserted
from rich.console import Console
from rich.table import Table
from segment_anything.modeling import Sam
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.image_encoder import encode, encode_tuned
from ptsam_auto.sam.network import ARCHITECTURES
from ptsam_auto.sam.precision import multiplies_bfloat16
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings

BACKBONES = ("nano", "lite_medsam", "vit_b")
STEP_IMAGES, PROMPTS, SETS, TRAIN_IMAGES = 2, 8, 8, 16
MATRIX = 2048  # side of the large product of matrices


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        what: Backbone and work.
        theirs: Seconds of the published way.
        ours: Seconds of ours.
        ratios: Ratio of each round.
        wanted: The ratio that we want.
        difference: Difference of the results, or None where there is nothing to compare.
    """

    what: str
    theirs: float
    ours: float
    ratios: list[float]
    wanted: str
    difference: float | None = None

    def cells(self) -> list[str]:
        """Return the cells of the row."""
        low, high = min(self.ratios), max(self.ratios)
        spread = f" ({low:.2f} to {high:.2f})" if len(self.ratios) > 1 else ""
        differs = "" if self.difference is None else f"{self.difference:.0e}"
        return [
            self.what,
            f"{self.theirs:.3g}",
            f"{self.ours:.3g}",
            f"{statistics.median(self.ratios):.3g}{spread}",
            self.wanted,
            differs,
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rounds-vit-b", type=int, default=1, help="of the encoder of ViT-B, which takes minutes")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_of(*options.memory_of))
        return
    # A child's peak starts at that of its parent on Linux, so this comes first.
    memory = {name: memory_rows(name) for name in options.only if name != "lite_medsam"}
    table = Table(
        "what", "published, s", "ours, s", "times as fast", "wanted", "difference", title_justify="left",
        title=f"{torch.get_num_threads()} threads, torch {torch.__version__}",
    )  # fmt: skip
    for name in options.only:
        rounds = options.rounds_vit_b if name == "vit_b" else options.rounds
        for row in rows_of(name, options.rounds, rounds):
            table.add_row(*row.cells())
            print(*row.cells(), sep=" | ", flush=True)
        for cells in memory.get(name, []):
            table.add_row(*cells)
    table.add_row(*start_up(options.rounds).cells())
    Console(width=150).print(table)
    bfloat16 = "multiplies bfloat16 in hardware" if multiplies_bfloat16("cpu") else "has no bfloat16"
    print(f"{cpu()}, {os.cpu_count()} cores, {bfloat16}, load {os.getloadavg()[0]:.1f}")


def cpu() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def sam_of(name: str) -> Sam:
    """Return a frozen SAM: nano and LiteMedSAM with their weights, ViT-B with random ones."""
    return randomised(ARCHITECTURES[name], torch.device("cpu")) if name == "vit_b" else checkpoint.load(name).sam


def rows_of(name: str, rounds: int, encoder_rounds: int) -> Iterator[Row]:
    """Measure everything on a backbone."""
    encoding = encoder_row(name, encoder_rounds)
    yield encoding
    sam = sam_of(name)
    if name != "lite_medsam":  # Nobody has inserted tokens into a TinyViT before.
        yield deep_row(name, sam, encoder_rounds)
        yield again_row(name, sam, encoder_rounds)
    step = decoder_row(name, sam, rounds)
    yield step
    yield floor_row(name, sam, step.ours, rounds)
    if name != "vit_b":  # The decoder is that of LiteMedSAM.
        yield sets_row(name, sam, rounds)
    yield training_row(name, encoding, step)


def compared(
    what: str, theirs: Callable[[], Tensor], ours: Callable[[], Tensor], rounds: int, wanted: str, exact: float | None
) -> Row:
    """Run both in turn."""
    versions = [Version("theirs", theirs, []), Version("ours", ours, [])]
    measure(versions, rounds, torch.device("cpu"))
    published, own = (version.seconds for version in versions)
    ratios = [a / b for a, b in zip(published, own, strict=True)]
    return Row(what, statistics.median(published), statistics.median(own), ratios, wanted, exact)


def encoder_row(name: str, rounds: int) -> Row:
    """Compare the encoders on one image."""
    candidates, size = encoders(name)
    images = torch.rand(1, 3, size, size)
    ours = candidates.get("bfloat16", candidates["ptsam-auto"])
    with torch.no_grad():
        exact = difference(candidates["ptsam-auto"](images), candidates["published"](images))
        return compared(
            f"{name}: encoding", lambda: candidates["published"](images), lambda: ours(images), rounds, "2", exact
        )


def deep_versions(sam: Sam, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return a step with deep prompts: the published way, ours, in float32, and with blocks that are computed again."""
    encoder = sam.image_encoder
    depth, width = len(encoder.blocks), encoder.pos_embed.shape[-1]
    torch.manual_seed(0)
    prompts = (0.1 * torch.randn(depth, PROMPTS, width)).requires_grad_()
    weight = torch.randn(len(images), 256, *encoder.pos_embed.shape[1:3])

    def version(run: Callable[..., Tensor]) -> Callable[[], Tensor]:
        def work() -> Tensor:
            prompts.grad = None
            (run(encoder, images, prompts) * weight).mean().backward()
            assert prompts.grad is not None
            return prompts.grad

        return work

    again = partial(encode_tuned, activation_checkpointing=True)
    runs = {"published": inserted, "ours": encode_tuned, "exact": encode, "again": again}
    return {name: version(run) for name, run in runs.items()}


def deep_images(name: str, sam: Sam) -> Tensor:
    """Return the images of a step with deep prompts."""
    return inputs(sam, 1 if name == "vit_b" else STEP_IMAGES)


def deep_row(name: str, sam: Sam, rounds: int) -> Row:
    """Compare a step with deep prompts."""
    images = deep_images(name, sam)
    versions = deep_versions(sam, images)
    exact = difference(versions["exact"]().clone(), versions["published"]().clone())
    what = f"{name}: step with deep prompts, {len(images)} image{'s' if len(images) > 1 else ''}"
    return compared(what, versions["published"], versions["ours"], rounds, "1.5", exact)


def again_row(name: str, sam: Sam, rounds: int) -> Row:
    """Compare a step with deep prompts with one whose blocks are computed again in the backward pass."""
    versions = deep_versions(sam, deep_images(name, sam))
    exact = difference(versions["again"]().clone(), versions["ours"]().clone())
    return compared(
        f"{name}: that step / blocks computed again", versions["ours"], versions["again"], rounds, "", exact
    )


def decoder_row(name: str, sam: Sam, rounds: int) -> Row:
    """Compare a step through the decoder."""
    theirs, ours = (version.run for version in decoder_prompts(sam))
    exact = difference(ours().clone(), theirs().clone())
    return compared(f"{name}: step with decoder prompts", theirs, ours, rounds, "2.5", exact)


def floor_row(name: str, sam: Sam, seconds: float, rounds: int) -> Row:
    """Return how many times as long a step takes as its multiplications need."""
    _, ours = decoder_prompts(sam)
    with FlopCounterMode(display=False) as counter:
        ours.run()
    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    product = Version("product", lambda: left @ right, [])
    measure([product], 3 * rounds, torch.device("cpu"))
    floor = counter.get_total_flops() * min(product.seconds) / (2 * MATRIX**3)
    return Row(f"{name}: step, the arithmetic / ours", floor, seconds, [seconds / floor], "at most 2")


def sets_row(name: str, sam: Sam, rounds: int) -> Row:
    """Compare a step of several prompt sets with separate ones."""
    separate, together, _ = (version.run for version in several_sets(sam, SETS))
    exact = difference(together().clone(), separate())
    return compared(f"{name}: separate steps / {SETS} sets together", separate, together, rounds, "1.43", exact)


def training_row(name: str, encoding: Row, step: Row) -> Row:
    """Compute how long a whole training takes as the paper describes it, and with the bank."""
    family = checkpoint.load(name).family if name != "vit_b" else "vit_b"
    recipe = Settings.from_paths(defaults.values(family, "decoder")).recipe
    theirs = recipe.steps * (STEP_IMAGES * encoding.theirs + step.theirs)
    views = recipe.views_drawn(TRAIN_IMAGES) * TRAIN_IMAGES
    ours = views * encoding.ours + recipe.steps * step.ours
    return Row(f"{name}: a whole training of {recipe.steps} steps", theirs, ours, [theirs / ours], "50")


def memory_rows(name: str) -> list[list[str]]:
    """Return the rows of the peak memory of a step with deep prompts, each way in a process of its own."""
    found = {}
    for way in ("published", "ours", "again"):
        command = [sys.executable, __file__, "--memory-of", name, way]
        found[way] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    theirs, what = found["published"], f"{name}: peak memory of a step with deep prompts"
    ways = [(f"{what}, GB", found["ours"], "2"), (f"{what}, blocks computed again, GB", found["again"], "")]
    return [
        [title, f"{theirs:.2f}", f"{own:.2f}", f"{theirs / own:.2f} times less", wanted, ""]
        for title, own, wanted in ways
    ]


def peak_of(name: str, way: str) -> float:
    """Return the peak of the memory of a step with deep prompts beyond that of the loaded network, GB."""
    sam = sam_of(name)
    work = deep_versions(sam, deep_images(name, sam))[way]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9


def start_up(rounds: int) -> Row:
    """Compare the time of a light command with that of importing torch."""

    def seconds(*words: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        return time.perf_counter() - began

    program = "import sys; sys.argv = ['ptsam-auto', '--help']; from ptsam_auto.start import main; main()"
    pairs = [(seconds("-c", "import torch"), seconds("-c", program)) for _ in range(rounds)]
    torch_only, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row("importing torch / ptsam-auto --help", torch_only, ours, [a / b for a, b in pairs], "0.3 s")


if __name__ == "__main__":
    main()
