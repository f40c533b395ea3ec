"""Attention in parts and fused attention give the same."""

import pytest
import torch

from ptsam_auto.sam import attention


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("most", [attention.MOST_SCORES, 0])
def test_attention_in_bfloat16_is_that_of_full_precision(monkeypatch, with_bias, most):
    """It is computed in parts where the scores fit, because the fused one takes up to twice as long."""
    monkeypatch.setattr(attention, "MOST_SCORES", most)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(6, 2, *size, generator=generator) for size in ((9, 12), (14, 12), (14, 8)))
    bias = torch.randn(2, 9, 14, generator=generator) if with_bias else None
    weight, found = torch.randn(6, 2, 9, 8, generator=generator), []
    for dtype in (torch.float32, torch.bfloat16):
        parts = [part.to(dtype, copy=True).requires_grad_() for part in (query, key, value)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            result = attention.attend(*parts, 0.3, bias)
        assert (result.dtype, result.shape) == (dtype, weight.shape)
        (result.float() * weight).sum().backward()
        found.append([result.detach(), *(part.grad for part in parts)])
    for exact, low in zip(*found, strict=True):
        assert torch.linalg.vector_norm(low.float() - exact) < 0.02 * torch.linalg.vector_norm(exact)
