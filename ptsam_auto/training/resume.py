"""A run on disk: trainable weights, optimiser, step and curve in one safetensors file, replaced atomically."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptsam_auto.training.loop import EpochReport, Training

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW keeps for each tensor


def save(path: Path, training: Training, curve: list[EpochReport], key: str) -> None:
    """Write the run; a reader sees the old file or the new one, never a half.

    Args:
        path: replaced if it exists.
        training: between two steps.
        curve: the reports so far.
        key: names what is trained and how; `load` wants the same.
    """
    tensors = {}
    for name, parameter in training.model.trainable().items():
        tensors[name] = parameter.detach().contiguous()
        # AdamW has nothing on a tensor that no gradient reached yet; SAMed has some that none ever will.
        for moment, value in training.optimiser.state.get(parameter, {}).items():
            tensors[f"{name}/{moment}"] = value.contiguous()
    about = {"key": key, "step": str(training.step), "curve": json.dumps([asdict(report) for report in curve])}
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata=about)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(path)


def load(path: Path, training: Training, key: str) -> list[EpochReport]:
    """Put a fresh run where the saved one stood, and return its curve; [] leaves it at the start.

    A file that is absent, damaged or of another key counts as none: training anew is always right.
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
