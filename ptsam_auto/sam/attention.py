"""Attention inside windows, by whichever of PyTorch's ways is fast there."""

# W windows  H heads  N queries of a window  M keys of a window  C channels of a head

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_SCORES = 2**26  # numbers of W H N M that are computed at once, 128 MiB; they are kept for the gradient
ALIGNED = 32  # The softmax takes up to three times as long if the number of keys is no multiple of this.


def attend(
    query_WHNC: Tensor, key_WHMC: Tensor, value_WHMC: Tensor, scale: float, bias_HNM: Tensor | None = None
) -> Tensor:
    """Return the attention inside windows, W H N C of the values.

    In bfloat16 on a CPU its parts are computed one after another: PyTorch's fused attention, which keeps no scores,
    takes up to twice as long for windows as small as these, and is as far from float32. Where the scores do not fit, as
    in a global block of ViT-B, and everywhere else it is the fused one.

    Args:
        query_WHNC: Queries.
        key_WHMC: Keys.
        value_WHMC: Values.
        scale: Factor of the product of a query and a key.
        bias_HNM: What is added to the scores in each window, or None.
    """
    W, H, N, _ = query_WHNC.shape
    in_parts = query_WHNC.device.type == "cpu" and query_WHNC.dtype == torch.bfloat16
    if not in_parts or W * H * N * key_WHMC.shape[2] > MOST_SCORES:
        # The memory-efficient kernels require values and keys of the same width.
        wider = query_WHNC.shape[3] - value_WHMC.shape[3]
        value = F.pad(value_WHMC, (0, wider)) if wider else value_WHMC
        bias = None if bias_HNM is None else bias_HNM.expand(W, -1, -1, -1)
        result = F.scaled_dot_product_attention(query_WHNC, key_WHMC, value, attn_mask=bias, scale=scale)
        return result[..., : value_WHMC.shape[3]]
    with torch.autocast(query_WHNC.device.type, enabled=False):
        query, key, value = (part.to(torch.bfloat16) for part in (query_WHNC * scale, key_WHMC, value_WHMC))
        if bias_HNM is not None:
            missing = -key.shape[2] % ALIGNED  # keys of weight 0
            key, value = (F.pad(part, (0, 0, 0, missing)) for part in (key, value))
            bias_HNM = F.pad(bias_HNM.to(torch.bfloat16), (0, missing), value=-math.inf)
        scores = torch.bmm(query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)).unflatten(0, (W, H))
        if bias_HNM is not None:
            scores = scores + bias_HNM  # In place, its gradient would be copied three times.
        return torch.bmm(scores.softmax(dim=-1).flatten(0, 1), value.flatten(0, 1)).unflatten(0, (W, H))
