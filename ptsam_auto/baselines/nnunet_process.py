"""Runs in nnU-Net's own process, which `nnunet` starts: planning, preprocessing, then training.

    python -m ptsam_auto.baselines.nnunet_process WORK DEVICE

An interrupted training continues from its last checkpoint. nnU-Net's folders are given by environment variables, which
`nnunet` sets.
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
from ptsam_auto.files import replacing

DATASET_ID = 1
CHECKPOINTS = 20  # in a complete training; of nnU-Net's own 1,000 epochs that is every 50th, its own default


def main(work: Path, device: str) -> None:
    """Run the training that job.json describes."""
    job = json.loads((work / "job.json").read_text(encoding="utf-8"))
    prepared = work / "prepared"
    if not prepared.exists():
        extract_fingerprints([DATASET_ID], num_processes=job["workers"], show_progress_bar=False)
        plans = plan_experiments([DATASET_ID], gpu_memory_target_in_gb=job["gpu_memory_gb"])
        preprocess([DATASET_ID], plans, ["2d"], [job["workers"]], show_progress_bar=False)
        prepared.touch()
    trainer = get_trainer_from_args(DATASET, "2d", "all", continue_training=True, device=torch.device(device))
    trainer.num_epochs = job["epochs"]
    trainer.num_iterations_per_epoch = job["steps_per_epoch"]
    # nnU-Net's pseudo Dice, here on the training images, is only informative; it does not influence the result.
    trainer.num_val_iterations_per_epoch = 1
    trainer.save_every = max(1, job["epochs"] // CHECKPOINTS)
    trainer.save_checkpoint = partial(_save_atomically, trainer.save_checkpoint)
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    trainer.run_training()


def _save_atomically(save: Callable[[str], None], path: str) -> None:
    """Write a checkpoint atomically. If the process is killed meanwhile, training continues from the previous one."""
    with replacing(Path(path)) as unfinished:
        save(str(unfinished))


def _end_with_parent() -> None:
    """Kill this process and its children when standard input is closed, that is, when the parent process ends."""
    os.read(0, 1)  # not sys.stdin, because processes that are forked meanwhile would inherit its lock
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(Path(sys.argv[1]), sys.argv[2])
