"""Chooses how the folds are run on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from ptsam_auto.experiment.fold_runner import IN_THIS_PROCESS, FoldRunner, InOtherProcesses
from ptsam_auto.experiment.processes import Processes
from ptsam_auto.portfolio.task import Candidate

PROCESSES_FROM = 60.0  # Duration of the cross-fitting, seconds, from which on several processes are worth their start.
MOST_GAIN = 0.8  # for each process, because they share the cores; two had at most 1.6 times the steps of LiteMedSAM.
LARGEST = 30_000_000  # Largest number of weights of a SAM for several processes, because each has its own copy.


@contextmanager
def local_runner(candidates: Sequence[Candidate], device: str, folds: int) -> Iterator[FoldRunner]:
    """Yield how the folds are run; at the end of the `with` block, the processes end.

    On a CPU, a training on a small SAM gains little from a second thread, and two trainings gain much from a second
    process. On a GPU, and for a large SAM, the folds are run in this process.

    Args:
        candidates: Candidates whose folds are run.
        device: Device, such as "cpu" or "cuda:0".
        folds: Number of folds.
    """
    count = min(folds, torch.get_num_threads())
    if device != "cpu" or count < 2 or max(map(_size, candidates)) > LARGEST:
        yield IN_THIS_PROCESS
        return
    processes = Processes(count, torch.get_num_threads() // count)
    try:
        yield InOtherProcesses(processes.each, count, processes.threads, PROCESSES_FROM, MOST_GAIN * count)
    finally:
        processes.close()


def _size(candidate: Candidate) -> int:
    """Return the number of weights of the backbone; 0 without one."""
    return sum(weight.numel() for weight in candidate.backbone.sam.parameters()) if candidate.backbone else 0
