"""Converts a published checkpoint of MobileSAM or LiteMedSAM to the tensor names of `TinyVit`."""

# N patches of a window (its side n)

import re
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from ptsam_auto.sam.tiny_vit import TinyVitArchitecture

STEM = "image_encoder.patch_embed.seq.0.c.weight"


def is_tiny_vit(state: Mapping[str, Tensor]) -> bool:
    """Return whether the tensors belong to a SAM with this image encoder."""
    return STEM in state


def architecture_of(state: Mapping[str, Tensor]) -> TinyVitArchitecture:
    """Derive the architecture from the names and shapes of a checkpoint's tensors.

    Args:
        state: Tensors of a complete SAM, with their published names.

    Raises:
        KeyError: A tensor that every TinyViT has is missing.
    """
    depths = [_depth(state, stage) for stage in range(4)]
    biases = [state[f"image_encoder.layers.{stage}.blocks.0.attn.attention_biases"].shape for stage in (1, 2, 3)]
    return TinyVitArchitecture(
        widths=(
            state["image_encoder.patch_embed.seq.2.c.weight"].shape[0],
            *(state[f"image_encoder.layers.{stage}.downsample.conv3.c.weight"].shape[0] for stage in range(3)),
        ),
        depths=tuple(depths),
        heads=tuple(heads for heads, _ in biases),
        windows=tuple(round(offsets**0.5) for _, offsets in biases),
        stride=(state[STEM].shape[-1] + 1) // 2,
    )


def _depth(state: Mapping[str, Tensor], stage: int) -> int:
    pattern = re.compile(rf"image_encoder\.layers\.{stage}\.blocks\.(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors with the names of `TinyVit`, and with batch norms folded into convolutions.

    A batch norm in eval mode is a scale and a shift of each channel; both become part of the convolution before it. The
    published projection to query, key and value has its rows ordered by head. In our network all queries come first, as
    in SAM, so that LoRA finds the queries and values. The tensors of TinyViT's classifier (`head`, `norm_head`) are
    left out.

    Args:
        state: Tensors of a complete SAM, with their published names; those outside its image encoder are returned
            unchanged.

    Raises:
        KeyError: A tensor that every TinyViT has is missing.
    """
    architecture = architecture_of(state)
    remaining = {name: tensor.float() for name, tensor in state.items() if name.startswith("image_encoder.")}
    result = {name: tensor for name, tensor in state.items() if name not in remaining}

    def take(name: str) -> Tensor:
        return remaining.pop(f"image_encoder.{name}")

    def put(name: str, tensor: Tensor) -> None:
        result[f"image_encoder.{name}"] = tensor.contiguous()

    def convolution(source: str, target: str, linear: bool = False) -> None:
        remaining.pop(f"image_encoder.{source}.bn.num_batches_tracked", None)
        scale = take(f"{source}.bn.weight") / (take(f"{source}.bn.running_var") + nn.BatchNorm2d(1).eps).sqrt()
        weight = take(f"{source}.c.weight") * scale[:, None, None, None]
        put(f"{target}.weight", weight.flatten(1) if linear else weight)
        put(f"{target}.bias", take(f"{source}.bn.bias") - take(f"{source}.bn.running_mean") * scale)

    def convolutions(source: str, target: str) -> None:
        convolution(f"{source}.conv1", f"{target}.expand", linear=True)
        convolution(f"{source}.conv2", f"{target}.depthwise")
        convolution(f"{source}.conv3", f"{target}.project", linear=True)

    def same(source: str, target: str) -> None:
        for part in ("weight", "bias"):
            put(f"{target}.{part}", take(f"{source}.{part}"))

    def attention(source: str, target: str, heads: int, side: int) -> None:
        same(f"{source}.norm", f"{target}.norm")
        same(f"{source}.proj", f"{target}.proj")
        for part in ("weight", "bias"):
            rows = take(f"{source}.qkv.{part}")
            put(f"{target}.qkv.{part}", rows.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2))
        put(f"{target}.bias_HNN", take(f"{source}.attention_biases")[:, offsets(side)])

    for i in range(2):
        convolution(f"patch_embed.seq.{2 * i}", f"stem.{i}")
    for i in range(architecture.depths[0]):
        convolutions(f"layers.0.blocks.{i}", f"convolutions.{i}")
    firsts = list(accumulate(architecture.depths[1:], initial=0))
    for stage, first in zip((1, 2, 3), firsts, strict=False):
        convolutions(f"layers.{stage - 1}.downsample", f"blocks.{first}.merge")
        for i in range(architecture.depths[stage]):
            source, target = f"layers.{stage}.blocks.{i}", f"blocks.{first + i}"
            heads, side = architecture.heads[stage - 1], architecture.windows[stage - 1]
            attention(f"{source}.attn", f"{target}.attn", heads, side)
            convolution(f"{source}.local_conv", f"{target}.local")
            same(f"{source}.mlp.norm", f"{target}.norm")
            same(f"{source}.mlp.fc1", f"{target}.widen")
            same(f"{source}.mlp.fc2", f"{target}.narrow")
    # The neck, and unexpected tensors: they are kept, so that load_state_dict reports them.
    for name, tensor in remaining.items():
        if not name.startswith(("image_encoder.head.", "image_encoder.norm_head.")):
            result[name] = tensor
    return result


def offsets(side: int) -> Tensor:
    """Return the index of the attention bias for each pair of patches of a window, N N.

    Biases are numbered by the distances (in rows, in columns) of the two patches; the order of the patches has no
    effect.

    Args:
        side: n, side of the window, patches.
    """
    place = torch.arange(side)
    apart = (place[:, None] - place).abs()
    return (apart[:, None, :, None] * side + apart[None, :, None, :]).reshape(side**2, side**2)
