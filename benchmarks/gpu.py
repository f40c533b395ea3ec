"""Compares encoding and training steps with stock segment_anything on a GPU: correctness, speed, and peak memory.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --architectures vit_b --batches 1 --rounds 5 --compile

All versions have the same random weights and the same inputs, and run in turn. "published" is segment_anything's own
code; for deep prompts it is the plain insertion of tokens into its blocks, and for a step of the decoder its modules.
The difference is that of the features (or of the gradients of the prompts) from those of the published code in float32,
relative to their norm. The memory is the peak of what PyTorch had in use, weights included. A step is a forward and a
backward pass without the optimiser. "K sets" are prompt sets that share a frozen decoder, two images each, in one pass;
beside it stands the time of K separate steps.

With `--device cpu --architectures toy` it only shows that everything runs; bfloat16 is then slower.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from plain import decoded, inserted
from rich.console import Console
from rich.table import Table
from segment_anything.modeling import Sam
from torch import Tensor

from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.mask_decoder import decode
from ptsam_auto.sam.network import ARCHITECTURES, Architecture, build

TOY = Architecture(image_size=64, width=48, depth=2, heads=2, window=3, global_blocks=(1,))
STEP_IMAGES, PROMPTS, MASK_TOKEN = 2, 8, 1
SETS = (4, 16)


@dataclass
class Version:
    """A version of some work: what to run, and what it took."""

    name: str
    run: Callable[[], Tensor]
    seconds: list[float]
    result: Tensor | None = None
    peak: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="Numbers of images in a pass.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="Also measure our encoder with torch.compile.")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    console = Console(width=150)
    for name in options.architectures:
        sam = randomised(TOY if name == "toy" else ARCHITECTURES[name], device)
        for batch in options.batches:
            show(console, f"{name}: encoding, {batch} at once", encoding(sam, batch, options.compile), options, batch)
        show(console, f"{name}: step with deep prompts, {STEP_IMAGES} images", deep_prompts(sam), options)
        show(console, f"{name}: step with decoder prompts, {STEP_IMAGES} images", decoder_prompts(sam), options)
        for sets in SETS:
            show(console, f"{name}: {sets} sets of decoder prompts", several_sets(sam, sets), options)
        del sam
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    console.print(f"{card}, torch {torch.__version__}, medians of {options.rounds} rounds")


def randomised(architecture: Architecture, device: torch.device) -> Sam:
    """Return a frozen SAM with random weights, also where a new network has zeros."""
    torch.manual_seed(0)
    sam = build(architecture).requires_grad_(False)
    for name, parameter in sam.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return sam.to(device)


def inputs(sam: Sam, batch: int) -> Tensor:
    """Return random images as the encoder expects them."""
    size = sam.image_encoder.img_size
    return torch.randn(batch, 3, size, size, device=sam.pixel_mean.device)


def encoding(sam: Sam, batch: int, compiles: bool) -> list[Version]:
    """Return the versions of encoding a batch of images without gradients."""
    images, kind = inputs(sam, batch), sam.pixel_mean.device.type
    encoder = sam.image_encoder

    def version(name: str, run: Callable[[Tensor], Tensor], lower: bool) -> Version:
        @torch.no_grad()
        def work() -> Tensor:
            with torch.autocast(kind, torch.bfloat16) if lower else nullcontext():
                return run(images).float()

        return Version(name, work, [])

    def ours(images: Tensor) -> Tensor:
        return encode(encoder, images)

    versions = [
        version("published, float32", encoder, lower=False),
        version("published, bfloat16", encoder, lower=True),
        version("ours, float32", ours, lower=False),
        version("ours, bfloat16", ours, lower=True),
    ]
    if compiles:
        versions.append(version("ours, bfloat16, compiled", torch.compile(ours), lower=True))
    return versions


def deep_prompts(sam: Sam) -> list[Version]:
    """Return the versions of a forward and a backward pass through the encoder, with prompts in every layer."""
    images, encoder = inputs(sam, STEP_IMAGES), sam.image_encoder
    kind, depth, width = images.device.type, len(encoder.blocks), encoder.pos_embed.shape[-1]
    prompts = (0.1 * torch.randn(depth, PROMPTS, width, device=images.device)).requires_grad_()
    weight = torch.randn(STEP_IMAGES, 256, *encoder.pos_embed.shape[1:3], device=images.device)

    def version(name: str, run: Callable[..., Tensor], lower: bool) -> Version:
        def work() -> Tensor:
            prompts.grad = None
            with torch.autocast(kind, torch.bfloat16) if lower else nullcontext():
                features = run(encoder, images, prompts).float()
            (features * weight).mean().backward()
            assert prompts.grad is not None
            return prompts.grad

        return Version(name, work, [])

    return [
        version("published, float32", inserted, lower=False),
        version("published, bfloat16", inserted, lower=True),
        version("ours, float32", encode, lower=False),
        version("ours, bfloat16", encode, lower=True),
    ]


def decoder_prompts(sam: Sam) -> list[Version]:
    """Return the versions of a forward and a backward pass through the decoder."""
    features, prompts = features_of(sam, STEP_IMAGES), learned(sam, PROMPTS)
    return [
        Version("published, float32", gradient(lambda: decoded(sam, features, prompts, MASK_TOKEN), prompts), []),
        Version("ours, float32", gradient(lambda: decode(sam, features, prompts, MASK_TOKEN), prompts), []),
    ]


def several_sets(sam: Sam, sets: int) -> list[Version]:
    """Return the versions of a step of several prompt sets on one decoder."""
    features, prompts = features_of(sam, sets * STEP_IMAGES), learned(sam, sets, PROMPTS)
    each = features.split(STEP_IMAGES)

    def separate() -> Tensor:
        gradients = []
        for own, of_set in zip(each, prompts, strict=True):
            alone = of_set.detach().requires_grad_()
            gradients.append(gradient(lambda o=own, a=alone: decode(sam, o, a, MASK_TOKEN), alone)() / sets)
        return torch.stack(gradients)

    def together() -> Tensor:
        return decode(sam, features, prompts.repeat_interleave(STEP_IMAGES, dim=0), MASK_TOKEN)

    step = gradient(together, prompts)
    return [
        Version("separate steps", separate, []),
        Version("one step", step, []),
        Version("one step, TF32", in_tf32(step), []),
    ]


def in_tf32(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return the same work with matrix products in TF32 on a GPU that has it."""

    def lower() -> Tensor:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            return work()
        finally:
            torch.set_float32_matmul_precision(before)

    return lower


def features_of(sam: Sam, images: int) -> Tensor:
    """Return random features."""
    return 0.3 * torch.randn(images, 256, *sam.prompt_encoder.image_embedding_size, device=sam.pixel_mean.device)


def learned(sam: Sam, *shape: int) -> Tensor:
    """Return initial prompts that require a gradient."""
    return (0.1 * torch.randn(*shape, 256, device=sam.pixel_mean.device)).requires_grad_()


def gradient(masks: Callable[[], Tensor], prompts: Tensor) -> Callable[[], Tensor]:
    """Return a function that computes masks and the gradient of the prompts."""

    def work() -> Tensor:
        prompts.grad = None
        masks().sigmoid().mean().backward()
        assert prompts.grad is not None
        return prompts.grad

    return work


def show(
    console: Console, title: str, versions: list[Version], options: argparse.Namespace, images: int | None = None
) -> None:
    """Run the versions in turn and print a table; with a number of images, also the images per second."""
    measure(versions, options.rounds, torch.device(options.device))
    first, rows = versions[0], []
    for version in versions:
        seconds = statistics.median(version.seconds)
        ratios = sorted(theirs / ours for theirs, ours in zip(first.seconds, version.seconds, strict=True))
        row = {
            "version": version.name,
            "ms": f"{1000 * seconds:.1f}",
            "images/s": f"{images / seconds:.1f}" if images else "",
            "times as fast": f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            "peak MiB": f"{version.peak / 2**20:.0f}" if version.peak else "",
            "difference": f"{difference(version.result, first.result):.1e}",
        }
        rows.append({name: value for name, value in row.items() if value})
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def difference(result: Tensor | None, reference: Tensor | None) -> float:
    """Return the norm of the difference, relative to that of the reference."""
    assert result is not None
    assert reference is not None
    return ((result - reference).norm() / reference.norm()).item()


def measure(versions: list[Version], rounds: int, device: torch.device) -> None:
    """Run each version once to warm up, and then all of them in turn."""
    for number in range(rounds + 1):
        for version in versions:
            wait(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            result = version.run()
            wait(device)
            if number:
                version.seconds.append(time.perf_counter() - began)
            elif device.type == "cuda":
                version.result, version.peak = result.cpu(), torch.cuda.max_memory_allocated()
            else:
                version.result = result.clone()


def wait(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
