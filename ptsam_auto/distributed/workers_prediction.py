"""Prediction with several workers (Ray Data). Each worker loads the specialist once; only image numbers are sent."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ptsam_auto.data.new_images import Source
from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.ray_api import ray
from ptsam_auto.errors import OutputError, PtsamError
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.masks import Destination, PredictionResult, predict_source

BLOCKS_PER_WORKER = 8  # Number of parts of the image list per worker, for load balancing.


def predict_parallel(
    load: Callable[[], Specialist],
    use_gpu: bool,
    sources: Sequence[Source],
    destination: Destination,
    workers: int,
    address: str | None,
) -> Iterator[PredictionResult]:
    """Yield the result of each image, in any order.

    Args:
        load: Function that loads the specialist; it is called once in each worker.
        use_gpu: Whether each worker uses a GPU.
        sources: Images on a disk that all workers can read.
        destination: Output folders that all workers can write.
        workers: Number of workers.
        address: Address of a running Ray cluster; see `cluster.ray_session`.

    Raises:
        ClusterError: Ray does not start or answer, or the cluster has too few CPUs or GPUs.
        OutputError: A folder cannot be written to.
    """
    threads = cluster.threads_each(workers, address)
    needs = {"CPU": float(threads * workers), "GPU": float(use_gpu * workers)}
    with cluster.ray_session(address):
        advice = "Use fewer workers, or connect to a larger cluster: --address."
        cluster.capacity(f"{workers} workers need", needs, advice)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.verbose_progress = False
        rows = ray.data.from_items(
            [{"source": number} for number in range(len(sources))],
            override_num_blocks=min(len(sources), BLOCKS_PER_WORKER * workers),
        ).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "load": load,
                "sources": sources,
                "destination": destination,
                "threads": threads,
            },
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads,
            num_gpus=1 if use_gpu else 0,
        )
        for row in rows.iter_rows():
            if row["stopped"]:
                raise OutputError(row["stopped"])
            yield PredictionResult(row["path"], row["written"], row["kept"], row["problem"], row["longest"])


class _Worker:
    """Ray actor that holds a loaded specialist."""

    def __init__(
        self, load: Callable[[], Specialist], sources: Sequence[Source], destination: Destination, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        self._specialist, self._sources, self._destination = load(), sources, destination

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Predict one image, given its number, and return the result."""
        (number,) = batch["source"]
        source = self._sources[int(number)]
        try:
            result, stopped = predict_source(self._specialist, source, self._destination), ""
        except PtsamError as problem:
            result, stopped = PredictionResult(source.label), str(problem)
        return {
            "path": [result.path],
            "written": [result.written],
            "kept": [result.kept],
            "problem": [result.problem],
            "longest": [result.longest],
            "stopped": [stopped],
        }
