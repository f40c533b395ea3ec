"""Calls in the workers of Ray."""

import os
import signal

import pytest

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
