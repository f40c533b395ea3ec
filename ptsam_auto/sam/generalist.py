"""The frozen network: segment_anything's own classes, in the sizes that checkpoints come in."""

# S input side in px  G = S / 16 patches a side  D encoder width

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 16  # px, in every SAM
DECODER_WIDTH = 256  # d_md in the paper, in every SAM


@dataclass(frozen=True)
class Architecture:
    """What distinguishes one SAM from another; everything else they share.

    Args:
        image_size: S, side of the square input in px, a multiple of 16.
        width: D, d_ie in the paper.
        depth: number of transformer blocks.
        heads: attention heads a block; divides width.
        window: side of an attention window in patches (14 in SAM).
        global_blocks: indices of the blocks that attend over the whole image.
        stem: "patch", SAM's one 16 x 16 embedding, or "convolutions", nano's four stride-2 ones.
    """

    image_size: int
    width: int
    depth: int
    heads: int
    window: int
    global_blocks: tuple[int, ...]
    stem: Literal["patch", "convolutions"] = "patch"

    @property
    def grid(self) -> int:
        """G, patches a side."""
        return self.image_size // PATCH


ARCHITECTURES = {
    "vit_b": Architecture(1024, 768, 12, 12, 14, (2, 5, 8, 11)),
    "vit_l": Architecture(1024, 1024, 24, 16, 14, (5, 11, 17, 23)),
    "vit_h": Architecture(1024, 1280, 32, 16, 14, (7, 15, 23, 31)),
    "nano": Architecture(512, 192, 8, 3, 8, (1, 3, 5, 7), stem="convolutions"),
}


class ConvolutionalStem(nn.Module):
    """Four stride-2 3 x 3 convolutions in place of the 16 x 16 patch embedding: B 3 S S -> B G G D.

    At nano's width one linear map of a patch cannot keep what is finer than 16 px.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [3, width // 8, width // 4, width // 2, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(min(8, after), after), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Return patches, channels last as SAM's own embedding does."""
        return self.layers(images_B3SS).permute(0, 2, 3, 1)


def build(architecture: Architecture) -> Sam:
    """A randomly initialised SAM (torch's global seed), in eval mode."""
    grid = (architecture.grid, architecture.grid)
    encoder = ImageEncoderViT(
        img_size=architecture.image_size,
        patch_size=PATCH,
        embed_dim=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.heads,
        mlp_ratio=4,
        out_chans=DECODER_WIDTH,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=architecture.window,
        global_attn_indexes=architecture.global_blocks,
    )
    if architecture.stem == "convolutions":
        encoder.patch_embed = ConvolutionalStem(architecture.width)
    prompt_encoder = PromptEncoder(DECODER_WIDTH, grid, (architecture.image_size,) * 2, mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=DECODER_WIDTH, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=DECODER_WIDTH, transformer=transformer, num_multimask_outputs=3)
    return Sam(encoder, prompt_encoder, decoder).eval()


def architecture_of(state: Mapping[str, Tensor]) -> Architecture:
    """Read the architecture off a checkpoint's tensor names and shapes.

    Any network of SAM's family can then be a backbone: fine-tuned checkpoints of others, and the toys of our tests.

    Raises:
        KeyError: a tensor that every SAM has is missing.
    """
    position = state["image_encoder.pos_embed"]  # 1 G G D
    grid, width = position.shape[1], position.shape[3]
    reach = {
        int(found[1]): tensor.shape
        for name, tensor in state.items()
        if (found := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name))
    }
    global_blocks = tuple(sorted(i for i, shape in reach.items() if shape[0] == 2 * grid - 1))
    windows = {(shape[0] + 1) // 2 for i, shape in reach.items() if i not in global_blocks}
    return Architecture(
        image_size=grid * PATCH,
        width=width,
        depth=len(reach),
        heads=width // reach[0][1],
        window=min(windows, default=grid),
        global_blocks=global_blocks,
        stem="patch" if "image_encoder.patch_embed.proj.weight" in state else "convolutions",
    )


def resized(state: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """The same weights for another input size.

    Absolute positions and the global blocks' relative ones are interpolated; windows and everything else stay.

    Args:
        state: a SAM's state dict.
        image_size: S of the network to load it into, px, a multiple of 16.
    """
    architecture, grid = architecture_of(state), image_size // PATCH
    result = dict(state)
    if architecture.grid == grid:
        return result
    position = state["image_encoder.pos_embed"].float().permute(0, 3, 1, 2)
    result["image_encoder.pos_embed"] = F.interpolate(position, (grid, grid), mode="bicubic").permute(0, 2, 3, 1)
    for i in architecture.global_blocks:
        for axis in "hw":
            name = f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"
            reach = F.interpolate(state[name].float().T[None], 2 * grid - 1, mode="linear")[0].T
            result[name] = reach.contiguous()
    return {name: tensor.contiguous() for name, tensor in result.items()}


def from_state(state: Mapping[str, Tensor]) -> Sam:
    """A SAM with these weights, frozen, float32, in eval mode.

    Raises:
        KeyError: a tensor that every SAM has is missing.
        RuntimeError: a tensor is missing, superfluous or of the wrong shape.
    """
    with torch.device("meta"):
        sam = build(architecture_of(state))
    # Two buffers are not in any checkpoint: the normalisation of pixels.
    defaults = Sam(nn.Identity(), nn.Identity(), nn.Identity())
    sam.pixel_mean, sam.pixel_std = defaults.pixel_mean, defaults.pixel_std
    sam.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return sam.requires_grad_(False).eval()
