"""TinyViT, the image encoder of MobileSAM and of LiteMedSAM (Wu et al., 2022), with optional deep prompts.

The published network has four stages: convolutions at a quarter of MobileSAM's input, then attention in windows at
decreasing resolution. This implementation gives the same results but is faster: each batch norm is part of the
convolution before it, channels come last, attention is computed in the way that is fastest for such windows, and
the convolutions and MLPs, whose intermediate results are the largest, take a part of the image at a time.
"""

# B images  S input side, px  h w height and width of a stage, patches  D width of a stage  W windows
# n side of a window, patches  N = n n  H heads  C = D / H  P prompts  V sum of the widths of all blocks

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ptsam_auto.sam.attention import attend
from ptsam_auto.sam.pixels import Pixels
from ptsam_auto.sam.published import LayerNorm2d

FEATURES = 64  # G: patches per side of the last stage, in every SAM with this encoder
AT_ONCE = 2**21  # numbers in the largest intermediate result of an MLP or of convolutions on a CPU: 8 MiB


@dataclass(frozen=True)
class TinyVitArchitecture:
    """Hyperparameters of a TinyViT.

    Args:
        widths: D, width of each of the four stages.
        depths: Number of blocks in each stage. Those of the first stage are convolutions, all others are attention
            blocks with windows.
        heads: Number of attention heads in each stage except the first; each divides its width.
        windows: Side of the attention windows in each stage except the first, in patches.
        stride: Stride of each of the two convolutions of the patch embedding: 2 in MobileSAM, whose kernels are 3 x 3,
            and 1 in LiteMedSAM, whose kernels are 1 x 1.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]
    stride: int

    @property
    def patch(self) -> int:
        """Return the side, px, of the image region that one feature covers.

        After the embedding, two of the four stages halve the resolution.
        """
        return 4 * self.stride**2

    @property
    def pixels(self) -> Pixels:
        """Return the kind of normalisation of the images: SAM's in MobileSAM, MedSAM's in LiteMedSAM."""
        return "own range" if self.stride == 1 else "mean and deviation"

    @property
    def block_widths(self) -> list[int]:
        """Return D, the width of each attention block; the sum is V, 1,856 in MobileSAM and LiteMedSAM."""
        stages = zip(self.widths[1:], self.depths[1:], strict=True)
        return [width for width, depth in stages for _ in range(depth)]

    @property
    def grid(self) -> int:
        """Return G, the number of features per side."""
        return FEATURES

    @property
    def image_size(self) -> int:
        """Return S, the side of the square input in px.

        It cannot be read from a checkpoint, because TinyViT has no absolute position embedding.
        """
        return FEATURES * self.patch


_TINY = ((64, 128, 160, 320), (2, 2, 6, 2), (4, 5, 10), (7, 14, 7))
TINY_VITS = {"lite_medsam": TinyVitArchitecture(*_TINY, stride=1), "mobile_sam": TinyVitArchitecture(*_TINY, stride=2)}


class TinyVit(nn.Module):
    """TinyViT with random weights; `tiny_vit_checkpoint` converts published tensors for it.

    Args:
        architecture: Hyperparameters.
        out_channels: Number of channels of the features, 256 in every SAM.

    Attributes:
        img_size: S; the name is that in segment_anything's encoder.
        blocks: Attention blocks of all stages. Like SAM's blocks, each has the projection `attn.qkv`, D -> 3D.
    """

    blocks: Any  # a ModuleList of Blocks; mypy does not know the type of its elements

    def __init__(self, architecture: TinyVitArchitecture, out_channels: int) -> None:
        super().__init__()
        widths, kernel = architecture.widths, 2 * architecture.stride - 1
        self.architecture = architecture
        self.img_size = architecture.image_size
        self.stem = nn.ModuleList(
            nn.Conv2d(before, after, kernel, architecture.stride, kernel // 2)
            for before, after in ((3, widths[0] // 2), (widths[0] // 2, widths[0]))
        )
        self.convolutions = nn.ModuleList(
            Convolutions(widths[0], 4 * widths[0], widths[0], 1, joins=True) for _ in range(architecture.depths[0])
        )
        self.blocks = nn.ModuleList()
        for stage in (1, 2, 3):
            # The last stage keeps the resolution; as a classifier, TinyViT halves it once more.
            merge = Convolutions(widths[stage - 1], widths[stage], widths[stage], 2 if stage < 3 else 1)
            heads, side = architecture.heads[stage - 1], architecture.windows[stage - 1]
            for index in range(architecture.depths[stage]):
                self.blocks.append(Block(widths[stage], heads, side, None if index else merge))
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(
        self, images_B3SS: Tensor, prompts_PV: Tensor | None = None, activation_checkpointing: bool = False
    ) -> Tensor:
        """Return image features, B 256 G G.

        Deep prompts are added to every window of every attention block as additional keys and values, and are removed
        after the block. Only their keys and values can influence a patch, so the result is the same as with prompts
        that are inserted as tokens. See `encode` for SAM's own encoder.

        Our readings, because the paper does not use this encoder: the convolutions of the first stage have no tokens,
        so they have no prompts; a block's prompts are as wide as its patches; they are inserted before the
        normalisation at the start of its attention, and they have no position, so they have no relative position
        either.

        Args:
            images_B3SS: Normalised and padded images, see `preprocess`.
            prompts_PV: P prompts for each block, concatenated over the blocks, or None for no prompts.
            activation_checkpointing: See `image_encoder.encode`.
        """
        # One image at a time: its matrices already use a core fully, and those of four images do not fit into a cache.
        batches = [images_B3SS] if _all_at_once(images_B3SS) else images_B3SS.split(1)
        features = [self._encode(batch, prompts_PV, activation_checkpointing) for batch in batches]
        return features[0] if len(features) == 1 else torch.cat(features)

    def _encode(self, images_B3SS: Tensor, prompts_PV: Tensor | None, activation_checkpointing: bool) -> Tensor:
        x_BDhw = images_B3SS.contiguous(memory_format=torch.channels_last)
        x_BDhw = self.stem[1](F.gelu(self.stem[0](x_BDhw)))
        x_BhwD = x_BDhw.permute(0, 2, 3, 1)
        for convolutions in self.convolutions:
            x_BhwD = convolutions(x_BhwD)
        widths = self.architecture.block_widths
        prompts = [None] * len(self.blocks) if prompts_PV is None else prompts_PV.split(widths, dim=-1)
        for block, prompts_PD in zip(self.blocks, prompts, strict=True):
            run = partial(checkpoint, block, use_reentrant=False) if activation_checkpointing else block
            x_BhwD = run(x_BhwD, prompts_PD)
        # Features are stored channels first.
        return self.neck(x_BhwD.permute(0, 3, 1, 2)).contiguous()


class Convolutions(nn.Module):
    """1 x 1, depthwise 3 x 3 and 1 x 1 convolution of the first stage and the merges, B h w D -> B h/stride w/stride O.

    Args:
        width: D, number of input channels.
        hidden: Number of hidden channels.
        out: O, number of output channels.
        stride: Stride of the 3 x 3 convolution, 1 or 2.
        joins: Whether the input is added to the result, followed by an activation (a residual block).
    """

    def __init__(self, width: int, hidden: int, out: int, stride: int, joins: bool = False) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, (0, 1), groups=hidden)
        self.project = nn.Linear(hidden, out)
        self.stride, self.joins = stride, joins

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """Process a few rows at a time, so that the intermediate results stay small."""
        B, h, w, _ = x_BhwD.shape
        rows = h // self.stride
        at_once = rows if _all_at_once(x_BhwD) else max(1, AT_ONCE // (B * w * self.stride * self.expand.out_features))
        stripes = [self._rows(x_BhwD, start, min(start + at_once, rows)) for start in range(0, rows, at_once)]
        return torch.cat(stripes, dim=1)

    def _rows(self, x_BhwD: Tensor, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop` of the result; the image is padded with zeros for the 3 x 3 convolution."""
        h = x_BhwD.shape[1]
        first, last = start * self.stride - 1, (stop - 1) * self.stride + 2
        hidden = F.gelu(self.expand(x_BhwD[:, max(first, 0) : min(last, h)]))
        if first < 0 or last > h:
            hidden = F.pad(hidden, (0, 0, 0, 0, max(-first, 0), max(last - h, 0)))
        result = self.project(F.gelu(self.depthwise(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)))
        return F.gelu(x_BhwD[:, start:stop] + result) if self.joins else result


class Block(nn.Module):
    """Attention in windows, a depthwise 3 x 3 convolution, and an MLP; B h w D.

    Args:
        width: D, number of channels.
        heads: H, number of attention heads.
        side: n, side of a window, patches.
        merge: Downsampling before the first block of a stage, or None.
    """

    def __init__(self, width: int, heads: int, side: int, merge: Convolutions | None) -> None:
        super().__init__()
        self.merge = merge
        self.attn = WindowAttention(width, heads, side)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x_BhwD: Tensor, prompts_PD: Tensor | None) -> Tensor:
        """Return the patches after this block; they have half the resolution if its merge has stride 2."""
        if self.merge is not None:
            x_BhwD = self.merge(x_BhwD)
        x_BhwD = x_BhwD + self.attn(x_BhwD, prompts_PD)
        x_BhwD = self.local(x_BhwD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x_BhwD + _piecewise(self._mlp, x_BhwD, self.widen.out_features)

    def _mlp(self, x_ND: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(self.norm(x_ND))))


class WindowAttention(nn.Module):
    """Attention inside each window, with a bias for each distance between two patches and for each head.

    Args:
        width: D, number of channels.
        heads: H, number of attention heads.
        side: n, side of a window, patches.
    """

    bias_HNN: Tensor

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.register_buffer("bias_HNN", torch.zeros(heads, side**2, side**2))

    def forward(self, x_BhwD: Tensor, prompts_PD: Tensor | None) -> Tensor:
        """Return the result of the attention for each patch, B h w D.

        TinyViT pads to complete windows with zeros before the normalisation, so its padding has keys and values, which
        are the same everywhere. We compute them once.
        """
        B, h, w, D = x_BhwD.shape
        n, H = self.side, self.heads
        rows, columns = -(-h // n), -(-w // n)
        grid = self.qkv(self.norm(x_BhwD))
        padding = self.qkv(self.norm(x_BhwD.new_zeros(D)))
        for dim, missing in ((2, columns * n - w), (1, rows * n - h)):
            if missing:
                grid = torch.cat([grid, padding.expand(*grid.shape[:dim], missing, *grid.shape[dim + 1 :])], dim)
        windows = grid.view(B, rows, n, columns, n, 3 * D).transpose(2, 3).reshape(-1, n * n, 3, H, D // H)
        query, key, value = windows.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias_HNN
        if prompts_PD is not None:
            # In full precision, because their gradients are sums over all windows of all images.
            with torch.autocast(x_BhwD.device.type, enabled=False):
                kv_2HPC = self.qkv(self.norm(prompts_PD)).reshape(-1, 3, H, D // H).permute(1, 2, 0, 3)[1:]
            key, value = (
                torch.cat([of_prompts.expand(len(of_patches), -1, -1, -1).to(of_patches.dtype), of_patches], dim=2)
                for of_prompts, of_patches in zip(kv_2HPC, (key, value), strict=True)
            )
            bias = F.pad(bias, (len(prompts_PD), 0))
        attended = attend(query, key, value, (D // H) ** -0.5, bias)
        attended = attended.transpose(1, 2).reshape(B, rows, columns, n, n, D).transpose(2, 3)
        attended = attended.reshape(B, rows * n, columns * n, D)[:, :h, :w]
        # Contiguous, because of anything else each row would be a product of its own, with a copy of the weights.
        return self.proj(attended.contiguous())


def _all_at_once(x: Tensor) -> bool:
    """Return whether a batch is computed in one piece: on a GPU, and in a network that is exported.

    Pieces would make an exported network hundreds of times as long, and fix the size of its batch.
    """
    return x.is_cuda or torch.compiler.is_exporting()


def _piecewise(layer: Callable[[Tensor], Tensor], x_BhwD: Tensor, widest: int) -> Tensor:
    """Apply a per-patch layer to a few patches at a time.

    Args:
        layer: Layer that processes each patch independently, N D -> N D.
        x_BhwD: Patches.
        widest: Numbers per patch in the layer's largest intermediate result.
    """
    x_ND = x_BhwD.flatten(0, 2)
    pieces = [x_ND] if _all_at_once(x_ND) else x_ND.split(max(1, AT_ONCE // widest))
    return torch.cat([layer(piece) for piece in pieces]).view_as(x_BhwD)
