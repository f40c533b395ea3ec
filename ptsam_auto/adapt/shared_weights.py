"""Copies a SAM without copying its weights, for methods that change its modules."""

import copy
from collections.abc import Iterable

from torch import Tensor

from ptsam_auto.sam.published import Sam


def copy_sharing_weights(sam: Sam) -> Sam:
    """Return a frozen copy of a SAM: new modules that share the weight tensors of the original.

    A method can change or replace the modules of the copy without any effect on the original. The original is still
    the untuned SAM that a specialist is compared with, and several methods can share its weights in memory.

    Args:
        sam: SAM to copy; its weights are set to frozen.
    """
    sam.requires_grad_(False)
    tensors: Iterable[Tensor] = [*sam.parameters(), *sam.buffers()]
    return copy.deepcopy(sam, {id(tensor): tensor for tensor in tensors})
