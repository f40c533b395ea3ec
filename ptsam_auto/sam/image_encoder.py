"""SAM's image encoder for a batch of images, with optional deep prompts (PTSAM, Sec. 3.2)."""

# B images  W windows  N patches of a window (its side n)  P prompts  L layers  D width  H heads  C = D / H
# S input side, px  G patches per side

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ptsam_auto.sam.attention import attend
from ptsam_auto.sam.precision import lower_precision
from ptsam_auto.sam.published import (
    EncoderAttention,
    EncoderBlock,
    ImageEncoderViT,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from ptsam_auto.sam.tiny_vit import TinyVit


def encode(
    encoder: ImageEncoderViT | TinyVit,
    images_B3SS: Tensor,
    prompts_LPD: Tensor | None = None,
    activation_checkpointing: bool = False,
) -> Tensor:
    """Return image features, B 256 G G; without prompts they are the same as those of `encoder(images)`.

    A layer's prompts are added to each of its windows (a global block is one large window) and removed after the
    layer; every layer has its own prompts. Because they are removed, only their keys and values can influence a patch:
    we compute these once per layer, and skip the queries, the projection and the MLP of the prompts. This is exact.

    Our readings, where the paper gives no details: prompts are inserted before the first normalisation of the block,
    as in VPT-deep, and they have no position, so they have no relative position either.

    Args:
        encoder: SAM's image encoder, or TinyViT (see `TinyVit.forward` for its prompts).
        images_B3SS: Normalised and padded images, see `preprocess`.
        prompts_LPD: One set of prompts per layer, or None for no prompts. For TinyViT their shape is P V, see
            `TinyVit.forward`.
        activation_checkpointing: Whether each block is computed again in the backward pass, so that only its input is
            kept in memory until then.
    """
    if isinstance(encoder, TinyVit):
        return encoder(images_B3SS, prompts_LPD, activation_checkpointing)
    x_BGGD = encoder.patch_embed(images_B3SS) + encoder.pos_embed
    run = partial(checkpoint, _block, use_reentrant=False) if activation_checkpointing else _block
    for layer, block in enumerate(encoder.blocks):
        x_BGGD = run(block, x_BGGD, None if prompts_LPD is None else prompts_LPD[layer])
    return encoder.neck(x_BGGD.permute(0, 3, 1, 2))


@torch.no_grad()
def encode_frozen(encoder: ImageEncoderViT | TinyVit, images_B3SS: Tensor) -> Tensor:
    """Return image features, B 256 G G, float32, without gradients.

    The precision is that of `lower_precision`; features are only kept in half precision anyway.

    Args:
        encoder: Encoder, see `encode`.
        images_B3SS: Normalised and padded images, see `preprocess`.
    """
    with lower_precision(encoder, images_B3SS.device):
        return encode(encoder, images_B3SS).float()


def encode_tuned(
    encoder: ImageEncoderViT | TinyVit,
    images_B3SS: Tensor,
    prompts_LPD: Tensor | None,
    activation_checkpointing: bool = False,
) -> Tensor:
    """Return image features, B 256 G G, float32, with the gradients of the learned parts of the encoder.

    The precision is that of `lower_precision`.

    Args:
        encoder: Encoder, see `encode`; it may have LoRA.
        images_B3SS: Normalised and padded images, see `preprocess`.
        prompts_LPD: Deep prompts, see `encode`, or None.
        activation_checkpointing: See `encode`.
    """
    with lower_precision(encoder, images_B3SS.device):
        return encode(encoder, images_B3SS, prompts_LPD, activation_checkpointing).float()


def _block(block: EncoderBlock, x_BGGD: Tensor, prompts_PD: Tensor | None) -> Tensor:
    """Return the patches after a block."""
    normed, normed_prompts = block.norm1(x_BGGD), None if prompts_PD is None else block.norm1(prompts_PD)
    if block.window_size > 0:
        windows, padded = window_partition(normed, block.window_size)
        attended = _attend(block.attn, windows, normed_prompts)
        attended = window_unpartition(attended, block.window_size, padded, normed.shape[1:3])
    else:
        attended = _attend(block.attn, normed, normed_prompts)
    x_BGGD = x_BGGD + attended
    return x_BGGD + block.mlp(block.norm2(x_BGGD))


def _attend(attention: EncoderAttention, x_WnnD: Tensor, prompts_PD: Tensor | None) -> Tensor:
    """Return the attention inside each window, W n n D, with the prompts as additional keys and values.

    SAM adds two terms to the score of query (i, j) and key (k, l): one depends on the query and k - i, the other on the
    query and l - j. We append them as channels: the query gets its terms for every row k and column l, the key gets a
    one-hot vector of its own row and column. Both terms are then part of the dot product, and attention needs no N x N
    bias in memory (800 MB per image in a global block of ViT-B). The one-hot vector of a prompt is 0: it has no
    position.
    """
    W, n, m, D = x_WnnD.shape
    H = attention.num_heads
    qkv = attention.qkv(x_WnnD).reshape(W, n * m, 3, H, D // H).permute(2, 0, 3, 1, 4)
    q_WHNC, k_WHNC, v_WHNC = qkv.unbind(0)

    grid_q = q_WHNC.reshape(W, H, n, m, D // H)
    rows = torch.einsum("whijc,ikc->whijk", grid_q, get_rel_pos(n, n, attention.rel_pos_h)).flatten(2, 3)
    columns = torch.einsum("whijc,jlc->whijl", grid_q, get_rel_pos(m, m, attention.rel_pos_w)).flatten(2, 3)
    query = torch.cat([q_WHNC * attention.scale, rows, columns], dim=-1)

    place = _one_hot_places(n, m, k_WHNC)
    key = torch.cat([k_WHNC, place.expand(W, H, -1, -1)], dim=-1)
    value = v_WHNC
    if prompts_PD is not None:
        # In full precision, because their gradients are sums over all windows of all images.
        with torch.autocast(x_WnnD.device.type, enabled=False):
            kv_2HPC = attention.qkv(prompts_PD).reshape(-1, 3, H, D // H).permute(1, 2, 0, 3)[1:]
        prompt_key = F.pad(kv_2HPC[0], (0, n + m)).expand(W, -1, -1, -1).to(key.dtype)
        key = torch.cat([prompt_key, key], dim=2)
        value = torch.cat([kv_2HPC[1].expand(W, -1, -1, -1).to(value.dtype), value], dim=2)

    attended = attend(query, key, value, scale=1.0)
    return attention.proj(attended.transpose(1, 2).reshape(W, n, m, D))


def _one_hot_places(rows: int, columns: int, like: Tensor) -> Tensor:
    """Return the row and column of each patch as one-hot channels, N (rows + columns)."""
    row = torch.eye(rows, dtype=like.dtype, device=like.device).repeat_interleave(columns, dim=0)
    column = torch.eye(columns, dtype=like.dtype, device=like.device).repeat(rows, 1)
    return torch.cat([row, column], dim=1)
