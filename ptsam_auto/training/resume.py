"""Saves and loads the state of a training (weights, optimiser, step, curve) in one safetensors file."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from ptsam_auto.files import write_bytes
from ptsam_auto.training.loop import EpochReport, Training

CHECKSUM = "crc32"  # key in the metadata of the file
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # state of AdamW for each tensor


def save(path: Path, training: Training, curve: list[EpochReport], key: str) -> None:
    """Save the state atomically: a reader sees the old file or the new one, never an incomplete one.

    Args:
        path: File to write; it is replaced if it exists.
        training: State of the training, between two steps.
        curve: Reports of the epochs so far.
        key: Identifier of the job (`Job.key`); `load` requires the same key.
    """
    tensors = {}
    for name, parameter in training.model.trainable().items():
        tensors[name] = parameter.detach().contiguous()
        # AdamW has no state for parameters that have had no gradient; some of SAMed's never have one.
        for moment, value in training.optimiser.state.get(parameter, {}).items():
            tensors[f"{name}/{moment}"] = value.contiguous()
    about = {"key": key, "step": str(training.step), "curve": json.dumps([asdict(report) for report in curve])}
    about[CHECKSUM] = _checksum(tensors, about)
    write_bytes(path, serialise(tensors, metadata=about))


def curve_of(path: Path) -> list[EpochReport]:
    """Return the curve in a saved state, to look at it while the training goes on; [] if the file is not readable."""
    try:
        with safe_open(path, framework="pt") as file:
            return _curve(file.metadata() or {})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return []


def load(path: Path, training: Training, key: str) -> list[EpochReport]:
    """Load a saved state into a new training and return its curve.

    A file that is missing, damaged or has another key is ignored: the result is [], training starts from the beginning,
    and the new training is unchanged.
    """
    parameters = training.model.trainable()
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("key") != key:
                return []
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        if about.pop(CHECKSUM, None) != _checksum(tensors, about):
            return []
        step = int(about["step"])
        curve = _curve(about)
        states = {name: _state(name, parameter, tensors) for name, parameter in parameters.items()}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return []
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
            if states[name]:
                training.optimiser.state[parameter] = states[name]
    training.step = step
    return curve


def _curve(about: Mapping[str, str]) -> list[EpochReport]:
    return [EpochReport(**report) for report in json.loads(about["curve"])]


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Return a checksum of everything in a checkpoint."""
    found = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].cpu().contiguous().view(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _state(name: str, parameter: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return AdamW's state of a parameter; {} if there is none.

    Raises:
        KeyError, ValueError: A tensor is missing, or is not what `save` writes.
    """
    state = {}
    if f"{name}/step" in tensors:
        for moment in MOMENTS:
            state[moment] = tensors[f"{name}/{moment}"].to("cpu" if moment == "step" else parameter.device)
    for tensor in (tensors[name], *(state[moment] for moment in MOMENTS[:2] if state)):
        if tensor.shape != parameter.shape or tensor.dtype != parameter.dtype or not tensor.isfinite().all():
            raise ValueError(f"{name} is damaged.")
    return state
