"""Calls a function in the workers of a Ray cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.ray_api import ray
from ptsam_auto.errors import ClusterError

RETRIES = 2  # Number of times that a call is repeated after its process failed.


@dataclass(frozen=True)
class Tasks:
    """Some workers, each with some threads and at most one GPU.

    Args:
        workers: Largest number of calls at the same time.
        threads: Number of threads of each, which is also the number of CPUs that Ray reserves for it.
        use_gpu: Whether each needs a GPU.
        address: Address of a running Ray cluster; see `cluster.ray_session`.
    """

    workers: int
    threads: int
    use_gpu: bool = False
    address: str | None = None

    def each(self, work: Callable[[int], str | None], items: int) -> Sequence[str | None]:
        """Call a function with each number from 0 to below `items`; return the results in this order.

        Raises:
            ClusterError: Ray does not start or answer, a call needs more than the cluster has, or workers failed
                repeatedly.
        """
        needs = {"CPU": float(self.threads), "GPU": float(self.use_gpu)}
        with cluster.ray_session(self.address):
            advice = "Use fewer workers, or connect to a larger cluster: --address."
            capacity = min(self.workers, cluster.capacity("A worker needs", needs, advice))
            remote = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=RETRIES)(_call)
            sent = ray.put(work)
            waiting, running = list(range(items)), dict[Any, int]()
            results = dict[int, str | None]()
            while waiting or running:
                while waiting and len(running) < capacity:
                    item = waiting.pop(0)
                    running[remote.remote(sent, item, self.threads)] = item
                done = cluster.wait_for_one(list(running))
                results[running.pop(done)] = _result(done)
        return [results[item] for item in range(items)]


def _call(work: Callable[[int], str | None], item: int, threads: int) -> str | None:
    torch.set_num_threads(threads)
    return work(item)


def _result(done: Any) -> str | None:  # noqa: ANN401 - Ray's references have no public type
    try:
        return ray.get(done)
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"A worker failed {RETRIES + 1} times. The last error: {last}\n"
            "All finished parts are kept. Run the same command to continue."
        ) from None
