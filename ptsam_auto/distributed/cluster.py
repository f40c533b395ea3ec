"""Ray, started quietly on this machine or joined where it runs already."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ptsam_auto.errors import ClusterError

# Before Ray is imported; what the user has set stands.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # How often Ray Train looks at its workers, seconds: also how long a report may wait.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Seconds that a worker has to leave one trial before Tune hands it another; Ray's 2 are short on a busy machine.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

STARTS = 3  # attempts at starting Ray, which waits 30 s for itself; a busy machine takes longer
STORE = 200 * 2**20  # bytes of Ray's object store on this machine; nothing large ever goes through it
LATE = 1e-9  # Ray counts in ten-thousandths; what fits must not fall short by a rounding


@contextmanager
def running(address: str | None, dashboard: bool = False) -> Iterator[None]:
    """Ray for as long as this lasts; one that runs in this process already is used and left running.

    Args:
        address: of a running cluster, as Ray has it; by default $RAY_ADDRESS, or else Ray starts on this machine's
            loopback interface, with the cores that this process may use.
        dashboard: start it too; Ray Train's cleaner asks it whose training has died, and frees the places.

    Raises:
        ClusterError: it does not answer, or does not start.
    """
    ours = not ray.is_initialized()
    if ours:
        _start(address, dashboard)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _start(address: str | None, dashboard: bool) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = {"address": address}
    if not address:
        where = {"address": "local", "num_cpus": cores(), "_node_ip_address": "127.0.0.1"}
        where |= {"object_store_memory": STORE, "include_dashboard": dashboard, "dashboard_host": "127.0.0.1"}
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray has no narrower type for it
            ray.shutdown()
            if attempt == STARTS or address:
                whose = f"No Ray cluster answers at {address}" if address else "Ray did not start on this machine"
                raise ClusterError(
                    f"{whose}: {str(error).splitlines()[0]}\nNothing is lost: run the command again."
                ) from None


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(workers: int, address: str | None) -> int:
    """Threads for each of some workers: this machine's cores shared out, one where other machines are meant."""
    alone = not (address or os.environ.get("RAY_ADDRESS"))
    return max(1, cores() // workers) if alone else 1


def room(what: str, wants: Mapping[str, float], advice: str) -> int:
    """How many of something fit on the cluster at once, at least 1.

    Args:
        what: and the verb, such as "A trial wants".
        wants: CPU and GPU; 0 is none.
        advice: what to do where there is no room.

    Raises:
        ClusterError: there is no room for one.
    """
    has = ray.cluster_resources()
    found = min(int(has.get(kind, 0.0) / want + LATE) for kind, want in wants.items() if want)
    if found < 1:
        wanted, there = (f"{each.get('CPU', 0):g} CPU and {each.get('GPU', 0):g} GPU" for each in (wants, has))
        raise ClusterError(f"{what} {wanted}; Ray has {there}.\n{advice}")
    return found
