"""SAM's mask decoder for a batch of images that share one set of prompts (PTSAM, Sec. 3.2)."""

# B images  P prompts  T tokens  G patches a side

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
    """Mask logits at the decoder's resolution, B 4G 4G; above 0 is foreground.

    The prompts join the token stream beside all of SAM's output tokens, where the embeddings of clicks and boxes
    would stand, and the dense no-prompt embedding stays (Sec. 3.2). Without prompts these are SAM's own masks for an
    empty prompt.

    Args:
        sam: for its mask decoder, and its prompt encoder's constants.
        features_B256GG: from `encode`.
        prompts_P256: the learned prompts, or None.
        mask_token: which of SAM's four masks is the output: 0 is the single mask, 1-3 the three for ambiguous prompts.
        background_token: a mask to subtract from it; sigmoid then gives what softmax over the two would.
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
        # Token 0 of the stream is the IoU token, the mask tokens follow.
        return decoder.output_hypernetworks_mlps[token](tokens_BTD[:, 1 + token])

    kernel = kernel_of(mask_token)
    if background_token is not None:
        kernel = kernel - kernel_of(background_token)
    return torch.einsum("bc,bchw->bhw", kernel, upscaled)
