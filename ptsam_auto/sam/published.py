"""All imports from the package segment-anything.

Its own first module imports torchvision for a class that is not used here, and torchvision imports PyTorch's compiler:
two seconds at the start and the end of each command. So that module is run only if something asks for what is in it.
"""

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

PACKAGE = "segment_anything"


def _postpone() -> None:
    """Put the package where Python looks for it, and run its first module when it is asked for one of its names."""
    spec = find_spec(PACKAGE)
    if PACKAGE in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def run(name: str) -> Any:  # noqa: ANN401 - any of its names
        if name.startswith("__"):
            raise AttributeError(name)
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = run
    sys.modules[PACKAGE] = package


_postpone()

from segment_anything.modeling import (  # noqa: E402
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.modeling.common import LayerNorm2d  # noqa: E402
from segment_anything.modeling.image_encoder import Attention as EncoderAttention  # noqa: E402
from segment_anything.modeling.image_encoder import Block as EncoderBlock  # noqa: E402
from segment_anything.modeling.image_encoder import get_rel_pos, window_partition, window_unpartition  # noqa: E402
from segment_anything.modeling.transformer import Attention as DecoderAttention  # noqa: E402

__all__ = [
    "DecoderAttention",
    "EncoderAttention",
    "EncoderBlock",
    "ImageEncoderViT",
    "LayerNorm2d",
    "MaskDecoder",
    "PromptEncoder",
    "Sam",
    "TwoWayTransformer",
    "get_rel_pos",
    "window_partition",
    "window_unpartition",
]
