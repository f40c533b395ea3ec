"""Lower precision for the image encoder, where the hardware multiplies in it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
from torch import nn

LEAST_WEIGHTS = 1_000_000  # number of weights of an encoder from which on a lower precision is faster


_is_allowed = ContextVar("lower precision", default=True)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 inside the `with` block, also where the hardware multiplies in bfloat16."""
    before = _is_allowed.set(False)
    try:
        yield
    finally:
        _is_allowed.reset(before)


def lower_precision(encoder: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which an encoder multiplies in bfloat16, where the hardware does so.

    Matrix products and convolutions have this precision; sums, normalisations and the residual stream stay in float32.
    On a CPU that takes about two thirds of the time, on a GPU a third or less (docs/results/speed.md). A toy encoder
    gains nothing, so it stays exact.

    Args:
        encoder: Encoder, see `image_encoder.encode`.
        device: Device of the encoder.
    """
    weights = sum(weight.numel() for weight in encoder.parameters())
    is_faster = _is_allowed.get() and weights >= LEAST_WEIGHTS and multiplies_bfloat16(device.type)
    return torch.autocast(device.type, torch.bfloat16, enabled=is_faster)


@lru_cache
def multiplies_bfloat16(kind: str) -> bool:
    """Return whether the hardware multiplies bfloat16: the CPU, or the GPU that PyTorch uses ("cpu" or "cuda")."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # Older versions do not have it.
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
