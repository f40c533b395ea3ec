"""Builds the frozen SAM network with segment_anything's classes, or with TinyViT as image encoder."""

# S input side in px  G = S / 16 patches per side  D encoder width

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.sam import tiny_vit_checkpoint
from ptsam_auto.sam.pixels import Pixels
from ptsam_auto.sam.published import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from ptsam_auto.sam.tiny_vit import TinyVit, TinyVitArchitecture

PATCH = 16  # patch size in px of every SAM with a plain ViT; for TinyViT see TinyVitArchitecture.patch
DECODER_WIDTH = 256  # d_md in the paper, the same in every SAM


@dataclass(frozen=True)
class Architecture:
    """Hyperparameters of a SAM with a ViT encoder; everything else is the same in all of them.

    Args:
        image_size: S, side of the square input in px, a multiple of 16.
        width: D, encoder width, d_ie in the paper.
        depth: Number of transformer blocks.
        heads: Number of attention heads per block; it divides width.
        window: Side of an attention window in patches (14 in SAM).
        global_blocks: Indices of the blocks with attention over the whole image.
        stem: "patch" is SAM's 16 x 16 patch embedding, "convolutions" is nano's four convolutions of stride 2.
        pixels: Normalisation of images. Checkpoints do not store it; only MedSAM's networks need another than SAM's.
    """

    image_size: int
    width: int
    depth: int
    heads: int
    window: int
    global_blocks: tuple[int, ...]
    stem: Literal["patch", "convolutions"] = "patch"
    pixels: Pixels = "mean and deviation"

    @property
    def grid(self) -> int:
        """Return G, the number of patches per side."""
        return self.image_size // PATCH


ARCHITECTURES = {
    "vit_b": Architecture(1024, 768, 12, 12, 14, (2, 5, 8, 11)),
    "vit_l": Architecture(1024, 1024, 24, 16, 14, (5, 11, 17, 23)),
    "vit_h": Architecture(1024, 1280, 32, 16, 14, (7, 15, 23, 31)),
    "nano": Architecture(512, 192, 8, 3, 8, (1, 3, 5, 7), stem="convolutions"),
}


class SamNetwork(Sam):
    """segment_anything's SAM with two more attributes: its architecture and its pixel normalisation.

    Args:
        image_encoder: Image encoder of this architecture.
        prompt_encoder: SAM's prompt encoder.
        mask_decoder: SAM's mask decoder.
        architecture: Hyperparameters of the network.
    """

    def __init__(
        self,
        image_encoder: ImageEncoderViT | TinyVit,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        architecture: Architecture | TinyVitArchitecture,
    ) -> None:
        super().__init__(image_encoder, prompt_encoder, mask_decoder)
        self.architecture = architecture

    @property
    def pixels(self) -> Pixels:
        """Return the kind of normalisation that `pixels.normalised` applies to the images."""
        return self.architecture.pixels


class ConvolutionalStem(nn.Module):
    """Four stride-2 3 x 3 convolutions in place of the 16 x 16 patch embedding: B 3 S S -> B G G D.

    At nano's width, a single linear embedding of a patch cannot keep details finer than 16 px.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [3, width // 8, width // 4, width // 2, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(min(8, after), after), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Return the embedded patches, channels last as in SAM's own embedding."""
        return self.layers(images_B3SS).permute(0, 2, 3, 1)


def build(architecture: Architecture | TinyVitArchitecture) -> SamNetwork:
    """Return a randomly initialised SAM (torch's global seed), in eval mode."""
    if isinstance(architecture, TinyVitArchitecture):
        encoder = TinyVit(architecture, DECODER_WIDTH)
    else:
        encoder = _vit(architecture)
    side, size = architecture.grid, architecture.image_size
    prompt_encoder = PromptEncoder(DECODER_WIDTH, (side, side), (size, size), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=DECODER_WIDTH, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=DECODER_WIDTH, transformer=transformer, num_multimask_outputs=3)
    return SamNetwork(encoder, prompt_encoder, decoder, architecture).eval()


def _vit(architecture: Architecture) -> ImageEncoderViT:
    """Return SAM's own image encoder, or nano's."""
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
    return encoder


def architecture_of(state: Mapping[str, Tensor]) -> Architecture:
    """Derive the architecture from the names and shapes of a checkpoint's tensors.

    Any network of SAM's family can then be a backbone: fine-tuned checkpoints of others, and the small networks in our
    tests.

    Raises:
        KeyError: A tensor that every SAM has is missing.
    """
    position = state["image_encoder.pos_embed"]  # 1 G G D
    grid, width = position.shape[1], position.shape[3]
    relative_positions = {
        int(match[1]): tensor.shape
        for name, tensor in state.items()
        if (match := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name))
    }
    global_blocks = tuple(sorted(i for i, shape in relative_positions.items() if shape[0] == 2 * grid - 1))
    windows = {(shape[0] + 1) // 2 for i, shape in relative_positions.items() if i not in global_blocks}
    return Architecture(
        image_size=grid * PATCH,
        width=width,
        depth=len(relative_positions),
        heads=width // relative_positions[0][1],
        window=min(windows, default=grid),
        global_blocks=global_blocks,
        stem="patch" if "image_encoder.patch_embed.proj.weight" in state else "convolutions",
    )


def resized(state: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """Return the same weights for another input size.

    Absolute positions and the relative positions of the global blocks are interpolated; everything else is unchanged.

    Args:
        state: State dict of a SAM.
        image_size: S of the new network, px, a multiple of 16.
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
            offsets = F.interpolate(state[name].float().T[None], 2 * grid - 1, mode="linear")[0].T
            result[name] = offsets.contiguous()
    return {name: tensor.contiguous() for name, tensor in result.items()}


def from_state(state: Mapping[str, Tensor]) -> SamNetwork:
    """Return a SAM with these weights, frozen, float32, in eval mode.

    Args:
        state: Tensors with segment_anything's names, or with MobileSAM's names if the encoder is a TinyViT.

    Raises:
        KeyError: A tensor that every SAM has is missing.
        RuntimeError: A tensor is missing, unexpected or of the wrong shape.
    """
    architecture: Architecture | TinyVitArchitecture
    if tiny_vit_checkpoint.is_tiny_vit(state):
        architecture, state = tiny_vit_checkpoint.architecture_of(state), tiny_vit_checkpoint.folded(state)
    else:
        architecture = architecture_of(state)
    with torch.device("meta"):
        sam = build(architecture)
    # Two buffers are in no checkpoint: mean and standard deviation of the pixels.
    defaults = Sam(nn.Identity(), nn.Identity(), nn.Identity())
    sam.pixel_mean, sam.pixel_std = defaults.pixel_mean, defaults.pixel_std
    sam.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return sam.requires_grad_(False).eval()
