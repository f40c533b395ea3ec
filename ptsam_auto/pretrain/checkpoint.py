"""Checkpoints that survive kill -9: tensors as safetensors, the rest as JSON, in place by one rename."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.pretrain.learner import PARTS, Learner, network
from ptsam_auto.sam.checkpoint import file_sha256

STATE = "state.json"  # names the tensors' file; whoever holds a whole state.json holds a whole checkpoint


def save(learner: Learner, folder: Path, settings: dict[str, Any]) -> None:
    """Write the learner; earlier tensors go once the new ones are in place.

    Args:
        learner: between two steps.
        folder: made if it does not exist.
        settings: what has to be the same when the run goes on, as JSON has it.

    Raises:
        OutputError: the folder cannot be written to.
    """
    name = f"checkpoint-{learner.step:07d}.safetensors"
    tensors = {
        f"{part}.{key}": tensor.contiguous() for part, state in learner.parts().items() for key, tensor in state.items()
    }
    about = {
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
        save_file(tensors, folder / "unfinished.safetensors")
        _in_place(folder / "unfinished.safetensors", folder / name)
        (folder / "unfinished.json").write_text(json.dumps(about, indent=1))
        _in_place(folder / "unfinished.json", folder / STATE)
        for old in folder.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()
    except OSError as problem:
        raise OutputError(f"{folder} cannot be written to: {problem.strerror}. Name another folder.") from problem


def restore(learner: Learner, folder: Path, settings: dict[str, Any]) -> bool:
    """Go on from the folder's checkpoint, if there is one.

    The plan (stages, rates) may have been changed in between, to end sooner or later; data and seed may not.

    Returns:
        Whether there was one.

    Raises:
        ConfigError: it was made with other settings.
    """
    if not (folder / STATE).is_file():
        return False
    about = json.loads((folder / STATE).read_text())
    for key, value in settings.items():
        if (found := about["settings"].get(key)) != value:
            raise ConfigError(
                f"{folder} holds a run with {key} {found}; now it is {value}.\n"
                "Name another --out, or repeat the command that the run began with."
            )
    tensors = load_file(folder / about["tensors"])
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    learner.restore(parts, about["size"], about["step"], about["images"], about["seconds"])
    return True


def average_of(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a run's checkpoint says of itself, and its averaged weights.

    Raises:
        ConfigError: the folder holds no checkpoint.
    """
    if not (folder / STATE).is_file():
        raise ConfigError(f"{folder} holds no pretraining run; expected {STATE} in it.")
    state = json.loads((folder / STATE).read_text())
    tensors = load_file(folder / state["tensors"])
    return state, {name.removeprefix("average."): t for name, t in tensors.items() if name.startswith("average.")}


def export(
    average: dict[str, Tensor], path: Path, about: dict[str, str], precision: torch.dtype = torch.float16
) -> str:
    """Write the running average as a backbone that `sam/checkpoint.py` loads.

    Args:
        average: by SAM's names.
        path: of the file, .safetensors.
        about: what people should know of the weights; goes into the file's header as JSON, under "pretraining".
        precision: of the numbers in the file.

    Returns:
        The file's SHA-256.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One entry: safetensors writes several in an order that changes, and the file's hash with it.
        header = {"pretraining": json.dumps(about)}
        tensors = {name: tensor.to(precision).contiguous() for name, tensor in network(average).items()}
        save_file(tensors, unfinished, header)
        _in_place(unfinished, path)
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}. Name another place.") from problem
    return file_sha256(path)


def _in_place(unfinished: Path, path: Path) -> None:
    """Rename once the bytes are on disk, so that a name never stands for half a file."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.chmod(0o644)  # safetensors writes for the owner alone
    unfinished.replace(path)
