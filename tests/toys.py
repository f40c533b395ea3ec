"""A SAM small enough for a test (two blocks, 64 px, one windowed and one global), and images to show it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from segment_anything.modeling import Sam

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.sam.network import Architecture, build
from ptsam_auto.training import defaults
from ptsam_auto.training.views import ViewSampler
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup

# What a toy gets unasked.
PROMPTS = defaults.values("nano", "decoder")["method.decoder_prompts"]

TOY = Architecture(image_size=64, width=24, depth=2, heads=2, window=3, global_blocks=(1,))


def toy_sam(seed: int = 0, architecture: Architecture = TOY) -> Sam:
    """Random weights everywhere, also where SAM starts at zero, so that nothing passes a test by being zero."""
    torch.manual_seed(seed)
    sam = build(architecture)
    with torch.no_grad():
        for parameter in sam.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return sam.requires_grad_(False)


def toy_checkpoint(path: Path, seed: int = 0) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in toy_sam(seed).state_dict().items()}, path)
    return path


def sample(seed: int, height: int = 48, width: int = 64) -> Sample:
    """A bright disc on dark noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centre, radius = rng.uniform((15, 15), (height - 15, width - 15)), rng.uniform(8, 14)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    image = rng.integers(0, 60, (height, width, 3)) + 150 * mask[..., None]
    return Sample(f"disc{seed:02d}", image.astype(np.uint8), mask)


def pairs(count: int, start: int = 0) -> list[Pair]:
    """Pairs that need no files."""
    names = range(start, start + count)
    return [Pair(f"disc{i:02d}", hashlib.sha256(str(i).encode()).hexdigest(), lambda i=i: sample(i)) for i in names]


def sampler(images: int, batch_size: int = 2, group: WorkerGroup = SINGLE_WORKER) -> ViewSampler:
    """Views of pairs."""
    return ViewSampler(pairs(images), Augmentation(), batch_size, seed=0, group=group)


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a disc (1) and a bar (2), and its mask of these class numbers."""
    one = sample(number)
    image, mask = one.image.copy(), one.mask.astype(np.uint8)
    image[2:6, 4:40], mask[2:6, 4:40] = (250, 250, 20), 2
    return image, mask


def write_scenes(folder: Path, count: int = 6) -> Path:
    """Write a folder of annotated images with two classes, disc and bar; return it."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        for part, pixels in zip(("images", "masks"), scene(number), strict=True):
            Image.fromarray(pixels).save(folder / part / f"scene{number}.png")
    (folder / "classes.json").write_text(json.dumps({"background": 0, "disc": 1, "bar": 2}))
    return folder


def write_folder(folder: Path, count: int, start: int = 0) -> Path:
    """images/ and masks/ with discs."""
    for i in range(start, start + count):
        one = sample(i)
        for part, pixels in (("images", one.image), ("masks", one.mask.astype(np.uint8) * 255)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"{one.name}.png")
    return folder
