"""Starts Ray on this machine or connects to a running cluster."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptsam_auto.distributed.ray_api import ray
from ptsam_auto.errors import ClusterError

START_ATTEMPTS = 3  # Number of attempts to start Ray. An attempt ends after 30 s; a busy machine may need longer.
OBJECT_STORE_BYTES = 200 * 2**20  # Size of Ray's object store on this machine; only small objects are sent.
POLL_SECONDS = 5.0  # Interval at which it is checked that Ray has a machine left.
LONGEST_PATH = 35  # Number of characters of the path of Ray's own folder; a socket in it may have about 100.
ROUNDING_TOLERANCE = 1e-9  # Ray rounds resources to 1/10,000; with this tolerance no task is lost by rounding.


@contextmanager
def ray_session(address: str | None, dashboard: bool = False) -> Iterator[None]:
    """Provide Ray inside the `with` block. If Ray is already initialised in this process, it is used and left running.

    Args:
        address: Address of a running cluster, in Ray's format. Default: the environment variable RAY_ADDRESS; if it is
            not set, Ray is started on the loopback interface of this machine, with the cores that this process may use.
        dashboard: Whether to start the dashboard too. Ray Train needs it to free the resources of failed workers.

    Raises:
        ClusterError: Ray does not answer or does not start.
    """
    if ray.is_initialized():
        yield
        return
    # By default Ray leaves its sockets and logs of each session in /tmp/ray for ever.
    folder = Path(tempfile.mkdtemp(prefix="ptsam-ray-"))
    try:
        _start(address, dashboard, folder if len(str(folder)) <= LONGEST_PATH else None)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start(address: str | None, dashboard: bool, folder: Path | None) -> None:
    """Start Ray, with its own files in a folder, or connect to a cluster, which has a folder already."""
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address}
    if not address:
        options = {"address": "local", "num_cpus": cores(), "_node_ip_address": "127.0.0.1"}
        if folder is not None:
            options["_temp_dir"] = str(folder)
        options |= {
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": dashboard,
            "dashboard_host": "127.0.0.1",
        }
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray has no narrower error type for this.
            ray.shutdown()
            if attempt == START_ATTEMPTS or address:
                problem = f"No Ray cluster answers at {address}" if address else "Ray did not start on this machine"
                raise ClusterError(
                    f"{problem}: {str(error).splitlines()[0]}\nRun the command again. All earlier results are kept."
                ) from None


def check_alive() -> None:
    """Check that Ray has a machine left. Without one, what it was asked for would wait for ever.

    Raises:
        ClusterError: It has none; on this machine, if Ray's own processes were killed.
    """
    if not any(node["Alive"] for node in ray.nodes()):
        raise ClusterError(
            "Ray's processes were killed, perhaps because the memory was full.\n"
            "All finished parts are kept. Close other programs, then run the command again."
        )


def wait_for_one(references: Sequence[Any]) -> Any:  # noqa: ANN401 - Ray's references have no public type
    """Return the reference of a task that has ended, as soon as there is one.

    Raises:
        ClusterError: See `check_alive`.
    """
    while True:
        done, _ = ray.wait(references, timeout=POLL_SECONDS)
        if done:
            return done[0]
        check_alive()


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(workers: int, address: str | None) -> int:
    """Return the number of threads per worker: cores / workers on this machine, 1 on a cluster."""
    is_local = not (address or os.environ.get("RAY_ADDRESS"))
    return max(1, cores() // workers) if is_local else 1


def capacity(subject: str, needs: Mapping[str, float], advice: str) -> int:
    """Return how many tasks with these needs can run on the cluster at the same time, at least 1.

    Args:
        subject: Start of the error message: subject and verb, such as "A trial needs".
        needs: Numbers of CPUs and GPUs of one task; 0 means none.
        advice: Last line of the error message.

    Raises:
        ClusterError: One task needs more than the cluster has.
    """
    resources = ray.cluster_resources()
    count = min(int(resources.get(kind, 0.0) / need + ROUNDING_TOLERANCE) for kind, need in needs.items() if need)
    if count < 1:
        needed, available = (
            f"{amounts.get('CPU', 0):g} CPU and {amounts.get('GPU', 0):g} GPU" for amounts in (needs, resources)
        )
        raise ClusterError(f"{subject} {needed}; the Ray cluster has {available}.\n{advice}")
    return count
