"""Bouts on Ray: side by side, each in a process of its own, again where that died; a failed one is noted."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptsam_auto.compare.bout import Bout, fight
from ptsam_auto.distributed import cluster
from ptsam_auto.errors import PtsamError
from ptsam_auto.search.trial import Task
from ptsam_auto.tracking.journal import Journal

# After `cluster`, which sets Ray's environment.
import ray  # isort: skip

RETRIES = 2  # of a bout whose process died


def run_bouts(
    bouts: Sequence[Bout],
    task: Task,
    wants: Mapping[str, float],
    journal: Journal,
    *,
    address: str | None = None,
    at_once: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Run bouts in their order; what came of each is in the journal before anything depends on it.

    Args:
        bouts: those that are not over yet.
        task: what they share.
        wants: CPU and GPU of one.
        journal: gets an event for each that is over: ended or failed.
        address: of a running Ray cluster, see `cluster.running`.
        at_once: side by side; by default as many as there is room for.
        progress: called after each.

    Raises:
        ClusterError: Ray is not to be had, or has no room for one.
    """
    if not bouts:
        return
    with cluster.running(address):
        room = cluster.room("A training wants", wants, "Lower --cpu or --gpu, or give more machines: --address.")
        # A process of its own for each: its memory is measured, and no bout inherits another's.
        remote = ray.remote(num_cpus=wants["CPU"], num_gpus=wants["GPU"], max_retries=RETRIES, max_calls=1)(_bout)
        waiting = list(bouts)
        running: dict[Any, Bout] = {}
        while waiting or running:
            while waiting and len(running) < min(room, at_once or room):
                bout = waiting.pop(0)
                running[remote.remote(bout, task)] = bout
            (done, *_), _ = ray.wait(list(running))
            bout = running.pop(done)
            try:
                event = ray.get(done)
            except ray.exceptions.RayError as error:
                event = {"event": "failed", "error": str(error).strip().splitlines()[-1]}
            about = {"bout": bout.name, "dataset": bout.dataset, "split": bout.cell.seed, "size": bout.size}
            about |= {"entry": bout.who, "train": len(bout.cell.train), "time": time.time()}
            journal.write({**event, **about})
            progress()


def _bout(bout: Bout, task: Task) -> dict[str, Any]:
    """What a worker runs. What a user's setting has caused is an answer, not an accident: it is not tried again."""
    try:
        return {"event": "ended", **fight(bout, task)}
    except PtsamError as problem:
        return {"event": "failed", "error": str(problem)}
