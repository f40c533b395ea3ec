"""A second SAM on the tensors of the first, for methods that change more than prompts."""

import copy
from collections.abc import Iterable

from segment_anything.modeling import Sam
from torch import Tensor


def frozen_twin(sam: Sam) -> Sam:
    """The same frozen network: its modules anew, its tensors shared.

    What a method puts into the twin's modules, or in their place, leaves the first as it was. It stays the untuned SAM
    that a specialist is measured beside, and serves several methods with the memory of one.

    Args:
        sam: frozen here.
    """
    sam.requires_grad_(False)
    tensors: Iterable[Tensor] = [*sam.parameters(), *sam.buffers()]
    return copy.deepcopy(sam, {id(tensor): tensor for tensor in tensors})
