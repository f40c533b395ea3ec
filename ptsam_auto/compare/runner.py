"""Runs the trainings in parallel with Ray, each in its own process.

Trainings whose process fails are repeated. Errors are recorded in the journal.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptsam_auto.compare.record import Event, Failed, Finished, TrainingKey
from ptsam_auto.compare.training import Outcome, Training, train
from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.ray_api import ray
from ptsam_auto.errors import PtsamError
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.experiment.workspace import Workspace

RETRIES = 2  # Number of times that a training is repeated after its process failed.


def run_trainings(
    trainings: Sequence[Training],
    workspace: Workspace,
    needs: Mapping[str, float],
    journal: Journal,
    *,
    address: str | None = None,
    at_once: int | None = None,
    progress: Callable[[Event], None] = lambda event: None,
) -> None:
    """Run the trainings in their order, and write the result of each to the journal.

    Args:
        trainings: Trainings that are not finished.
        workspace: Data that the trainings share.
        needs: Numbers of CPUs and GPUs of one training.
        journal: Journal for the results, one event per training.
        address: Address of a running Ray cluster; see `cluster.ray_session`.
        at_once: Maximum number of parallel trainings. Default: as many as the cluster has capacity for.
        progress: Function that is called with the event of each training.

    Raises:
        ClusterError: Ray does not start or answer, a training needs more than the cluster has, or Ray was killed.
    """
    if not trainings:
        return
    with cluster.ray_session(address):
        advice = "Use smaller numbers for --cpu or --gpu, or connect to a larger cluster: --address."
        capacity = cluster.capacity("A training needs", needs, advice)
        # Each training runs in a new process, so that its peak memory can be measured.
        remote = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=RETRIES, max_calls=1)(_train)
        waiting = list(trainings)
        running: dict[Any, Training] = {}
        while waiting or running:
            while waiting and len(running) < min(capacity, at_once or capacity):
                training = waiting.pop(0)
                running[remote.remote(training, workspace)] = training
            done = cluster.wait_for_one(list(running))
            training = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                result = str(error).strip().splitlines()[-1]
            event = _event(training, result)
            journal.write(event)
            progress(event)


def _train(training: Training, workspace: Workspace) -> Outcome | str:
    """Run a training in a worker process. Return its outcome, or the error message if it failed.

    Errors that a setting causes are returned, not raised, because a retry by Ray would fail in the same way.
    """
    try:
        return train(training, workspace)
    except PtsamError as problem:
        return str(problem)


def _event(training: Training, result: Outcome | str) -> Event:
    key = TrainingKey(
        name=training.name,
        dataset=training.dataset,
        split=training.fold.seed,
        size=training.size,
        entry=training.entry,
        train=training.size,
    )
    return Failed(key, time.time(), result) if isinstance(result, str) else Finished(key, time.time(), result)
