"""SAM's mask decoder for a batch of images, with one set of prompts for all or one set for each (PTSAM, Sec. 3.2)."""

# B images  P prompts  T tokens  N = G G patches  D width  H heads

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.sam.published import DecoderAttention, Sam, TwoWayTransformer


def decode(
    sam: Sam,
    features_B256GG: Tensor,
    prompts: Tensor | None,
    mask_token: int,
    background_token: int | None = None,
) -> Tensor:
    """Return mask logits at the decoder's resolution, B 4G 4G; above 0 is foreground.

    The prompts are appended after all of SAM's output tokens, at the position of the embeddings of clicks and boxes,
    and the dense no-prompt embedding is kept (Sec. 3.2). Without prompts the result is SAM's own mask for an empty
    prompt.

    Args:
        sam: SAM; its mask decoder and the constant embeddings of its prompt encoder are used.
        features_B256GG: Features from `encode`.
        prompts: Learned prompts, P 256, or the prompts of each item, B P 256, or None.
        mask_token: Index of the one of SAM's four masks that is the output: 0 is the single mask, 1-3 are the three for
            ambiguous prompts.
        background_token: Index of a mask that is subtracted from it, or None. Sigmoid then gives the same result as
            softmax over the two masks.
    """
    decoder, constants = sam.mask_decoder, sam.prompt_encoder
    B, D, G, _ = features_B256GG.shape

    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    if prompts is not None:
        tokens = torch.cat([tokens.expand(*prompts.shape[:-2], -1, -1), prompts], dim=-2)
    source_BND = _patches(features_B256GG + constants.no_mask_embed.weight.reshape(1, D, 1, 1))
    positions_1ND = _patches(constants.get_dense_pe())
    tokens_BTD, source_BND = _transformed(decoder.transformer, source_BND, positions_1ND, tokens.expand(B, -1, -1))

    def kernel_of(token: int) -> Tensor:
        # The first token is the IoU token; the mask tokens follow.
        return decoder.output_hypernetworks_mlps[token](tokens_BTD[:, 1 + token])

    kernel = kernel_of(mask_token)
    if background_token is not None:
        kernel = kernel - kernel_of(background_token)
    upscaled = _upscaled(decoder.output_upscaling, source_BND)
    mask = upscaled.flatten(1, 3) @ kernel[:, :, None]
    # Each patch has 2 x 2 parts, and each of them 2 x 2 pixels; bring the pixels of each row of the mask together.
    return mask.view(B, G, G, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6).reshape(B, 4 * G, 4 * G)


def _transformed(
    transformer: TwoWayTransformer, source_BND: Tensor, positions_1ND: Tensor, tokens_BTD: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the tokens and the patches after SAM's two-way transformer.

    The result is that of `transformer.forward`. The attention of PyTorch does not keep the attention weights of every
    patch, so a training step takes about two thirds of the time on a CPU.
    """
    tokens, source = tokens_BTD, source_BND
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = _attended(layer.self_attn, tokens, tokens, tokens)
        else:
            placed = tokens + tokens_BTD
            tokens = tokens + _attended(layer.self_attn, placed, placed, tokens)
        tokens = layer.norm1(tokens)
        placed_source = source + positions_1ND
        attended = _attended(layer.cross_attn_token_to_image, tokens + tokens_BTD, placed_source, source)
        tokens = layer.norm2(tokens + attended)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        attended = _attended(layer.cross_attn_image_to_token, placed_source, tokens + tokens_BTD, tokens)
        source = layer.norm4(source + attended)
    attended = _attended(transformer.final_attn_token_to_image, tokens + tokens_BTD, source + positions_1ND, source)
    return transformer.norm_final_attn(tokens + attended), source


def _attended(attention: DecoderAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the result of one of SAM's attention layers. Its projections are called, so they may have LoRA."""
    heads = (
        projected.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for projected in (attention.q_proj(query), attention.k_proj(key), attention.v_proj(value))
    )
    return attention.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def _upscaled(upscaling: nn.Sequential, source_BND: Tensor) -> Tensor:
    """Return the upscaled patches, B N 4 4 D/8: the 2 x 2 parts of each patch, and the 2 x 2 pixels of each part.

    The result is that of SAM's two transposed convolutions. Their stride is their size, so each patch is upscaled
    independently by a matrix, and the pixels of an image need not be brought into rows before the mask is computed.
    """
    modules: list[Any] = list(upscaling)
    first, norm, activation, second, last_activation = modules
    parts = _transposed_convolution(first, source_BND)
    parts = F.layer_norm(parts, parts.shape[-1:], norm.weight, norm.bias, norm.eps)
    return last_activation(_transposed_convolution(second, activation(parts)))


def _transposed_convolution(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return the 2 x 2 results of each patch, ... D -> ... 4 O."""
    width, out = convolution.weight.shape[:2]
    assert convolution.bias is not None
    matrix = convolution.weight.permute(2, 3, 1, 0).reshape(4 * out, width)
    return F.linear(x, matrix, convolution.bias.repeat(4)).unflatten(-1, (4, out))


def _patches(x_BDGG: Tensor) -> Tensor:
    """Return a grid as a list of patches, B N D."""
    return x_BDGG.flatten(2).transpose(1, 2).contiguous()
