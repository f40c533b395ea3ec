"""Calls a function in several processes on this machine."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ptsam_auto.errors import PtsamError

PARENT_POLL_SECONDS = 1.0  # Interval at which a process looks whether the process that started it still runs.


@dataclass(frozen=True)
class Processes:
    """Some processes, each with some threads.

    Args:
        count: Number of processes.
        threads: Number of threads of each.
    """

    count: int
    threads: int

    def each(self, work: Callable[[int], str | None], items: int) -> Sequence[str | None]:
        """Call a function with each number from 0 to below `items`; return the results in this order.

        Raises:
            PtsamError: A process was killed, for example because the memory was full.
        """
        parent = os.getpid()
        # An executor warns when it replaces a process that has grown, which costs a few seconds and nothing else.
        with warnings.catch_warnings(), joblib.parallel_config("loky", inner_max_num_threads=self.threads):
            warnings.simplefilter("ignore")
            try:
                parallel = joblib.Parallel(n_jobs=self.count, batch_size=1, pre_dispatch="all", max_nbytes=None)
                return parallel(joblib.delayed(_call)(work, item, self.threads, parent) for item in range(items))
            except TerminatedWorkerError:
                raise PtsamError(
                    "A process that trained was killed, perhaps because the memory was full.\n"
                    "All finished parts are kept. Close other programs, then run the command again."
                ) from None

    def close(self) -> None:
        """End the processes; without it they end after some idle minutes."""
        get_reusable_executor().shutdown(wait=True)


_watched: list[int] = []  # process that started this one, if that is watched already


def _call(work: Callable[[int], str | None], item: int, threads: int, parent: int) -> str | None:
    """Call the function in a process that ends with its parent, and leaves Ctrl-C to it."""
    torch.set_num_threads(threads)
    if not _watched:
        _watched.append(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    return work(item)


def _end_with(parent: int) -> None:
    """End this process when the one that started it was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(1)
