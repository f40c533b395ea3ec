"""Reads the SAM tensors of a checkpoint file, and removes wrappers and prefixes from their names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
WRAPPERS = ("model", "state_dict", "model_state")  # keys under which training code keeps the tensors
PREFIXES = re.compile(
    r"(module\.|sam\.)*"
)  # prefixes from data-parallel training, and from networks that contain a SAM
SHOWN = 3  # number of names that a message quotes


class NotASam(Exception):  # noqa: N818 - `checkpoint` catches it and adds the name of the file
    """The file can be read, but contains no SAM. The message describes the content of the file."""


def sam_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a SAM: `image_encoder.*`, `prompt_encoder.*`, `mask_decoder.*`.

    Fine-tuned checkpoints may also contain the state of an optimiser, may store the weights under one of the keys
    `WRAPPERS`, and may have a prefix in each name. Other tensors, such as a second decoder, are ignored.

    Args:
        path: A .safetensors file, or any file that torch reads; nothing in it is executed.

    Raises:
        NotASam: There are no such tensors.
        OSError, ValueError, pickle.UnpicklingError, ...: The file is not a checkpoint.
    """
    if path.suffix == ".safetensors":
        content: Any = load_file(path)
    else:
        # weights_only: tensors and nothing else are unpickled.
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise NotASam(f"it holds a {type(content).__name__}")
    entries = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors = {name: tensor for name, tensor in entries.items() if isinstance(tensor, Tensor)}
    unprefixed = {PREFIXES.sub("", name, count=1): tensor for name, tensor in tensors.items()}
    sam = {name: tensor for name, tensor in unprefixed.items() if name.partition(".")[0] in PARTS}
    if not sam:
        names = ", ".join(map(str, list(entries)[:SHOWN]))
        raise NotASam(f"it has {names}{', ...' if len(entries) > SHOWN else ''}" if names else "it is empty")
    return sam
