"""What runs in nnU-Net's own process, started by `nnunet`: it plans and preprocesses, then trains from where it stood.

    python -m ptsam_auto.baselines.nnunet_process WORK DEVICE

nnU-Net finds its folders by the environment, which `nnunet` sets.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

from ptsam_auto.baselines.nnunet import DATASET

DATASET_ID = 1
CHECKPOINTS = 20  # in a whole training; of nnU-Net's own 1,000 epochs that is every 50th, as it does


def main(work: Path, device: str) -> None:
    """Do what job.json says."""
    job = json.loads((work / "job.json").read_text())
    prepared = work / "prepared"
    if not prepared.exists():
        extract_fingerprints([DATASET_ID], num_processes=job["workers"], show_progress_bar=False)
        plans = plan_experiments([DATASET_ID], gpu_memory_target_in_gb=job["gpu_memory_gb"])
        preprocess([DATASET_ID], plans, ["2d"], [job["workers"]], show_progress_bar=False)
        prepared.touch()
    trainer = get_trainer_from_args(DATASET, "2d", "all", continue_training=True, device=torch.device(device))
    trainer.num_epochs = job["epochs"]
    trainer.num_iterations_per_epoch = job["steps_per_epoch"]
    # Its pseudo Dice is for people to look at, here on the training images: nothing of the result depends on it.
    trainer.num_val_iterations_per_epoch = 1
    trainer.save_every = max(1, job["epochs"] // CHECKPOINTS)
    trainer.save_checkpoint = partial(_save_whole, trainer.save_checkpoint)
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    trainer.run_training()


def _save_whole(save: Callable[[str], None], path: str) -> None:
    """A checkpoint appears only when it is complete: killed in the middle of one, training goes on from the last."""
    save(f"{path}.part")
    Path(f"{path}.part").replace(path)


def _end_with_parent() -> None:
    """Our standard input ends when the process that started us does; then we end, and what we started with us."""
    os.read(0, 1)  # not sys.stdin, whose lock processes forked meanwhile would inherit
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(Path(sys.argv[1]), sys.argv[2])
