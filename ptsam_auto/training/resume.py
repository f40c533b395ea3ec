"""Saves and loads the state of a training (weights, optimiser, step, curve) in one safetensors file."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptsam_auto.files import replacing
from ptsam_auto.training.loop import EpochReport, Training

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
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata=about)


def load(path: Path, training: Training, key: str) -> list[EpochReport]:
    """Load a saved state into a new training and return its curve.

    A file that is missing, damaged or has another key is ignored: the result is [], and training starts from the
    beginning.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            if about["key"] != key:
                return []
            stored = set(file.keys())
            with torch.no_grad():
                for name, parameter in training.model.trainable().items():
                    parameter.copy_(file.get_tensor(name))
                    if f"{name}/step" in stored:
                        training.optimiser.state[parameter] = {
                            moment: file.get_tensor(f"{name}/{moment}").to(
                                "cpu" if moment == "step" else parameter.device
                            )
                            for moment in MOMENTS
                        }
    except (FileNotFoundError, SafetensorError):
        return []
    training.step = int(about["step"])
    return [EpochReport(**report) for report in json.loads(about["curve"])]
