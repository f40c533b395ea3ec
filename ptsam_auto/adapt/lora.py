"""LoRA: adds a low-rank update to the query and value projections of SAM's attentions; the projections stay frozen."""

# r rank  I O a layer's inputs and outputs  D encoder width

import math

import torch
from torch import Tensor, nn

from ptsam_auto.sam.published import DecoderAttention, ImageEncoderViT, MaskDecoder
from ptsam_auto.sam.tiny_vit import TinyVit


class Update(nn.Module):
    """LoRA update of a linear layer, `up @ down @ x`. It is zero before training, because `up` starts at zero.

    There is no scale and no dropout. The initial values of `down` are Kaiming uniform with a = sqrt(5), that is,
    uniform within +-1 / sqrt(I).

    Args:
        inputs: I, number of inputs of the layer.
        outputs: O, number of outputs of the layer.
        rank: r, rank of the update.
        generator: CPU random generator, so that a seed gives the same initial values on every device.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        values = torch.rand(rank, inputs, generator=generator) * 2 - 1
        self.down = nn.Parameter(values / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return the update, ... O, of inputs ... I."""
        return x @ self.down.T @ self.up.T


class UpdatedLinear(nn.Module):
    """A frozen linear layer and its update.

    Args:
        linear: Frozen linear layer.
        rank: r, rank of the update.
        generator: CPU random generator, see `Update`.
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        self.update = Update(linear.in_features, linear.out_features, rank, generator).to(linear.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer plus the update."""
        return self.linear(x) + self.update(x)


class UpdatedQKV(nn.Module):
    """The encoder's frozen projection to query, key and value, ... D -> ... 3D, with updates of query and value.

    Args:
        linear: Frozen projection, D -> 3D.
        rank: r, rank of each update.
        generator: CPU random generator, see `Update`.
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        width, device = linear.in_features, linear.weight.device
        self.linear = linear
        self.query = Update(width, width, rank, generator).to(device)
        self.value = Update(width, width, rank, generator).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the projection plus the updates of query and value."""
        q, k, v = self.linear(x).chunk(3, dim=-1)
        return torch.cat([q + self.query(x), k, v + self.value(x)], dim=-1)


def add_encoder_lora(encoder: ImageEncoderViT | TinyVit, rank: int, generator: torch.Generator) -> None:
    """Add a LoRA update to the query and value projections of every attention block.

    At rank 4 the updates have 147,456 numbers on ViT-B, and 29,696 on MobileSAM and LiteMedSAM.
    """
    for block in encoder.blocks:
        block.attn.qkv = UpdatedQKV(block.attn.qkv, rank, generator)


def add_decoder_lora(decoder: MaskDecoder, rank: int, generator: torch.Generator) -> None:
    """Add a LoRA update to the query and value projections of every attention, including the last one.

    At rank 4 the updates have 23,552 numbers.
    """
    for attention in [module for module in decoder.modules() if isinstance(module, DecoderAttention)]:
        attention.q_proj = UpdatedLinear(attention.q_proj, rank, generator)
        attention.v_proj = UpdatedLinear(attention.v_proj, rank, generator)
