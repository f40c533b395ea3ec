"""Masks of a large folder by many workers, on Ray Data: each loads SAM once, and paths are all that is sent around."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptsam_auto.distributed import cluster
from ptsam_auto.errors import OutputError, PtsamError
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.masks import Destination, Predicted, predict_file

# After `cluster`, which sets Ray's environment.
import ray.data  # isort: skip

TURNS = 8  # shares of the paths for each worker, so that a slow one does not hold up the end


def predict_together(
    load: Callable[[], Specialist],
    use_gpu: bool,
    paths: Sequence[Path],
    to: Destination,
    workers: int,
    address: str | None,
) -> Iterator[Predicted]:
    """What becomes of each image, in no particular order.

    Args:
        load: the specialist, in each worker.
        use_gpu: a GPU for each worker.
        paths: images, on a disk that all workers see.
        to: folders that all workers see.
        workers: how many.
        address: of a running Ray cluster; see `cluster.running`.

    Raises:
        ClusterError: Ray is not to be had, or has too little.
        OutputError: a folder cannot be written to.
    """
    threads = cluster.threads_each(workers, address)
    wants = {"CPU": float(threads * workers), "GPU": float(use_gpu * workers)}
    with cluster.running(address):
        cluster.room(f"{workers} workers want", wants, "Take fewer workers, or more machines: --address.")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.verbose_progress = False
        rows = ray.data.from_items(
            [{"path": str(path)} for path in paths], override_num_blocks=min(len(paths), TURNS * workers)
        ).map_batches(
            _Worker,
            fn_constructor_kwargs={"load": load, "to": to, "threads": threads},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads,
            num_gpus=1 if use_gpu else 0,
        )
        for row in rows.iter_rows():
            if row["stopped"]:
                raise OutputError(row["stopped"])
            yield Predicted(row["path"], row["written"], row["kept"], row["problem"])


class _Worker:
    """An actor with a specialist of its own."""

    def __init__(self, load: Callable[[], Specialist], to: Destination, threads: int) -> None:
        torch.set_num_threads(threads)
        self._specialist, self._to = load(), to

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """One path to what became of it."""
        (path,) = batch["path"]
        try:
            one, stopped = predict_file(self._specialist, Path(path), self._to), ""
        except PtsamError as problem:
            one, stopped = Predicted(path), str(problem)
        return {
            "path": [path],
            "written": [one.written],
            "kept": [one.kept],
            "problem": [one.problem],
            "stopped": [stopped],
        }
