"""SAM's mask decoder for a batch of images that share one set of prompts (PTSAM, Sec. 3.2)."""

# B images  P prompts  T tokens  G patches per side

import torch
from segment_anything.modeling import Sam
from torch import Tensor


def decode(
    sam: Sam,
    features_B256GG: Tensor,
    prompts_P256: Tensor | None,
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
        prompts_P256: Learned prompts, or None.
        mask_token: Index of the one of SAM's four masks that is the output: 0 is the single mask, 1-3 are the three for
            ambiguous prompts.
        background_token: Index of a mask that is subtracted from it, or None. Sigmoid then gives the same result as
            softmax over the two masks.
    """
    decoder, constants = sam.mask_decoder, sam.prompt_encoder
    B, D, G, _ = features_B256GG.shape

    tokens_TD = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    if prompts_P256 is not None:
        tokens_TD = torch.cat([tokens_TD, prompts_P256])
    source = features_B256GG + constants.no_mask_embed.weight.reshape(1, D, 1, 1)
    positions = constants.get_dense_pe().expand(B, -1, -1, -1)
    tokens_BTD, source_BND = decoder.transformer(source, positions, tokens_TD.expand(B, -1, -1))

    upscaled = decoder.output_upscaling(source_BND.transpose(1, 2).reshape(B, D, G, G))

    def kernel_of(token: int) -> Tensor:
        # The first token is the IoU token; the mask tokens follow.
        return decoder.output_hypernetworks_mlps[token](tokens_BTD[:, 1 + token])

    kernel = kernel_of(mask_token)
    if background_token is not None:
        kernel = kernel - kernel_of(background_token)
    return torch.einsum("bc,bchw->bhw", kernel, upscaled)
