"""LoRA: a low-rank update beside the query and value projections of SAM's attentions, which stay frozen."""

# r rank  I O a layer's inputs and outputs  D encoder width

import math

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


class Update(nn.Module):
    """What LoRA adds to a linear layer's output, `up down x`; nothing, as long as `up` has not been trained.

    No scale, no dropout. `down` starts Kaiming uniform with a = sqrt(5), that is within +-1 / sqrt(I), and `up` at 0.

    Args:
        inputs: I.
        outputs: O.
        rank: r.
        generator: on the CPU, so that a seed means the same start on every device.
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
        linear: frozen.
        rank: r.
        generator: see `Update`.
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        self.update = Update(linear.in_features, linear.out_features, rank, generator).to(linear.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """As the layer itself, with its update."""
        return self.linear(x) + self.update(x)


class UpdatedQKV(nn.Module):
    """The encoder's frozen projection to query, key and value at once, ... D -> ... 3D, two of them updated.

    Args:
        linear: frozen.
        rank: r.
        generator: see `Update`.
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        width, device = linear.in_features, linear.weight.device
        self.linear = linear
        self.query = Update(width, width, rank, generator).to(device)
        self.value = Update(width, width, rank, generator).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """As the projection itself, with the updates of query and value."""
        q, k, v = self.linear(x).chunk(3, dim=-1)
        return torch.cat([q + self.query(x), k, v + self.value(x)], dim=-1)


def add_encoder_lora(encoder: ImageEncoderViT, rank: int, generator: torch.Generator) -> None:
    """Put an update beside the query and value of every block; 147,456 numbers at rank 4 on ViT-B."""
    for block in encoder.blocks:
        block.attn.qkv = UpdatedQKV(block.attn.qkv, rank, generator)


def add_decoder_lora(decoder: MaskDecoder, rank: int, generator: torch.Generator) -> None:
    """Put an update beside the query and value of every attention, the last one included; 23,552 numbers at rank 4."""
    for attention in [module for module in decoder.modules() if isinstance(module, Attention)]:
        attention.q_proj = UpdatedLinear(attention.q_proj, rank, generator)
        attention.v_proj = UpdatedLinear(attention.v_proj, rank, generator)
