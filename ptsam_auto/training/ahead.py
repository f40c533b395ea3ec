"""Prepares results in background threads before they are needed."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

MOST_THREADS = 8

Result = TypeVar("Result")


class Ahead(Generic[Result]):
    """The results of a function of a number, where it is known which numbers follow.

    Args:
        make: Function of a number, which can run in several threads at the same time.
        threads: Number of threads, and of results that are prepared; 0: a result is made when it is asked for.
        name: Name of the threads.
    """

    def __init__(self, make: Callable[[int], Result], threads: int, name: str) -> None:
        self._make, self._threads = make, threads
        self._executor = ThreadPoolExecutor(max(1, threads), thread_name_prefix=name)
        self._prepared: dict[int, Future[Result]] = {}

    def get(self, number: int, following: Iterable[int]) -> Result:
        """Return the result for a number, and start to prepare those that follow.

        Args:
            number: Number of the result.
            following: Numbers that will probably be asked for next, in their order; as many as there are threads are
                prepared, and what was prepared for other numbers is dropped.
        """
        future = self._prepared.pop(number, None)
        wanted = [each for each, _ in zip(following, range(self._threads), strict=False)]
        for dropped in self._prepared.keys() - set(wanted):
            self._prepared.pop(dropped).cancel()
        for each in wanted:
            if each not in self._prepared:
                self._prepared[each] = self._executor.submit(self._make, each)
        return self._make(number) if future is None else future.result()


def painters(device: torch.device, on_cpu: int) -> int:
    """Return the number of threads that paint views: enough to keep a GPU busy.

    Args:
        device: Device of the network.
        on_cpu: Number of threads if the network itself needs the CPU.
    """
    return on_cpu if device.type == "cpu" else min(MOST_THREADS, os.cpu_count() or 1)
