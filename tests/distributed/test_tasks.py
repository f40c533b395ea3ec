"""Calls in the workers of Ray."""

import os
import signal

import pytest

from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.tasks import Tasks
from ptsam_auto.errors import ClusterError

pytestmark = pytest.mark.slow


def _odd_ones_fail(item):
    return f"item {item} failed" if item % 2 else None


def _is_killed(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_and_a_worker_that_dies_again_and_again_is_reported():
    tasks = Tasks(workers=2, threads=1)
    assert tasks.each(_odd_ones_fail, 4) == [None, "item 1 failed", None, "item 3 failed"]
    with pytest.raises(ClusterError, match="failed 3 times"):
        tasks.each(_is_killed, 1)


def test_workers_that_the_machine_does_not_have_are_refused():
    with pytest.raises(ClusterError, match="A worker needs 1000 CPU"):
        Tasks(workers=1, threads=1000).each(_odd_ones_fail, 1)


def test_a_ray_whose_processes_were_killed_is_a_message_and_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(cluster.ray, "wait", lambda references, timeout: ([], references))
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": False}])
    with pytest.raises(ClusterError) as error:
        cluster.wait_for_one(["task"])
    assert str(error.value) == (
        "Ray's processes were killed, perhaps because the memory was full.\n"
        "All finished parts are kept. Close other programs, then run the command again."
    )
