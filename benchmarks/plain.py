"""Deep prompts and mask decoding in the plain way, as references for tests and benchmarks."""

# B images  P prompts  L layers  D width  G patches per side

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos, window_partition, window_unpartition
from torch import Tensor


def inserted(encoder: ImageEncoderViT, images_B3SS: Tensor, prompts_LPD: Tensor) -> Tensor:
    """Insert the prompts as tokens, attend with all of them, drop them: VPT-deep in windows, written out."""
    x = encoder.patch_embed(images_B3SS) + encoder.pos_embed
    for block, prompts in zip(encoder.blocks, prompts_LPD, strict=True):
        count, side = len(prompts), block.window_size or x.shape[1]
        windows, padded = window_partition(x, side)
        n = windows.shape[1]
        tokens = torch.cat([prompts.expand(len(windows), -1, -1), windows.flatten(1, 2)], dim=1)
        # SAM pads windows after its normalisation, so the padding is zero there.
        inside = window_partition(torch.ones_like(x[..., :1]), side)[0].flatten(1, 2)
        inside = torch.cat([inside.new_ones(len(windows), count, 1), inside], dim=1)
        normed = block.norm1(tokens) * inside
        attention = block.attn
        qkv = attention.qkv(normed).reshape(len(windows), count + n * n, 3, attention.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
        scores = (q * attention.scale) @ k.transpose(1, 2)
        zero = scores.new_zeros(len(q), n * n, n * n)
        bias = add_decomposed_rel_pos(zero, q[:, count:], attention.rel_pos_h, attention.rel_pos_w, (n, n), (n, n))
        scores = scores + torch.nn.functional.pad(bias, (count, 0, count, 0))
        mixed = (scores.softmax(-1) @ v).unflatten(0, (len(windows), -1)).transpose(1, 2).flatten(2)
        tokens = tokens + attention.proj(mixed)
        tokens = tokens + block.mlp(block.norm2(tokens))
        x = window_unpartition(tokens[:, count:].unflatten(1, (n, n)), side, padded, x.shape[1:3])
    return encoder.neck(x.permute(0, 3, 1, 2))


def decoded(sam: Sam, features_B256GG: Tensor, prompts_P256: Tensor, token: int) -> Tensor:
    """Return the masks of segment_anything's own modules, with the prompts after all output tokens."""
    decoder, constants, batch = sam.mask_decoder, sam.prompt_encoder, len(features_B256GG)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, prompts_P256]).expand(batch, -1, -1)
    source = features_B256GG + constants.no_mask_embed.weight.reshape(1, -1, 1, 1)
    positions = constants.get_dense_pe().expand(batch, -1, -1, -1)
    tokens, source = decoder.transformer(source, positions, tokens)
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(features_B256GG.shape))
    kernel = decoder.output_hypernetworks_mlps[token](tokens[:, 1 + token])
    return torch.einsum("bc,bchw->bhw", kernel, upscaled)
