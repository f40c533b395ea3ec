"""Checkpoints of a run: tensors as safetensors, all else as JSON; each file is written atomically."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nano.learner import PARTS, Learner, without_auxiliary
from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.files import file_sha256, replacing, write_json

STATE = "state.json"  # contains the name of the tensors' file; it is written last, so its checkpoint is complete


def save(learner: Learner, folder: Path, settings: dict[str, Any]) -> None:
    """Write a checkpoint, and then delete the tensors of earlier ones.

    Args:
        learner: Learner, between two steps.
        folder: Folder of the run; it is created if it does not exist.
        settings: Settings that must be the same when the run continues, JSON types.

    Raises:
        OutputError: The folder cannot be written to.
    """
    name = f"checkpoint-{learner.step:07d}.safetensors"
    tensors = {
        f"{part}.{key}": tensor.contiguous() for part, state in learner.parts().items() for key, tensor in state.items()
    }
    state = {
        "tensors": name,
        "step": learner.step,
        "size": learner.size,
        "images": learner.images,
        "seconds": learner.seconds,
        "settings": settings,
        "recipe": asdict(learner.recipe),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as unfinished:
            save_file(tensors, unfinished)
        write_json(folder / STATE, state)
        for old in folder.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()
    except OSError as problem:
        raise OutputError(f"{folder} cannot be written to: {problem.strerror}. Name another folder.") from problem


def restore(learner: Learner, folder: Path, settings: dict[str, Any]) -> bool:
    """Continue from the folder's checkpoint, if there is one.

    The recipe (stages, learning rates) may be different, to end earlier or later; data and seed must be the same.

    Returns:
        Whether there was a checkpoint.

    Raises:
        ConfigError: The checkpoint was made with other settings.
    """
    if not (folder / STATE).is_file():
        return False
    state = json.loads((folder / STATE).read_text())
    for key, value in settings.items():
        if (found := state["settings"].get(key)) != value:
            raise ConfigError(
                f"{folder} holds a run with {key} {found}; now it is {value}.\n"
                "Name another --out, or repeat the command that the run began with."
            )
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in load_file(folder / state["tensors"]).items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    learner.restore(parts, state["size"], state["step"], state["images"], state["seconds"])
    return True


def averaged_weights(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the content of a run's state.json, and its averaged weights.

    Raises:
        ConfigError: The folder contains no checkpoint.
    """
    if not (folder / STATE).is_file():
        raise ConfigError(f"{folder} holds no pretraining run; expected {STATE} in it.")
    state = json.loads((folder / STATE).read_text())
    tensors = load_file(folder / state["tensors"])
    return state, {name.removeprefix("average."): t for name, t in tensors.items() if name.startswith("average.")}


def export(
    average: dict[str, Tensor], path: Path, about: dict[str, str], precision: torch.dtype = torch.float16
) -> str:
    """Write averaged weights as a backbone that `ptsam_auto.sam.checkpoint` loads.

    Args:
        average: Averaged weights by SAM's names; auxiliary heads are left out.
        path: Path of the .safetensors file.
        about: Information about the training; it is written to the file's header as JSON, under "pretraining".
        precision: Type of the numbers in the file.

    Returns:
        SHA-256 of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {name: tensor.to(precision) for name, tensor in without_auxiliary(average).items()}
    return write_tensors(tensors, path, "pretraining", about)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, title: str, about: Mapping[str, Any]) -> str:
    """Write tensors with information about their training, and return the SHA-256 of the file.

    Args:
        tensors: Tensors by name.
        path: Path of the .safetensors file; its folder is created if it is missing.
        title: Name of the information in the file's header.
        about: Information, written as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    # A single entry, because safetensors writes several in a varying order, which would change the file's hash.
    header = {title: json.dumps(about)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, header)
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}. Name another place.") from problem
    return file_sha256(path)
