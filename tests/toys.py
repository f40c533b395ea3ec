"""A SAM small enough for a test: two blocks, 64 px, one windowed and one global."""

import torch
from segment_anything.modeling import Sam

from ptsam_auto.sam.generalist import Architecture, build

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
