"""Makes the n-th operation on files fail, or kills the process at it, in a child process of this one.

The functions of the C library are replaced (LD_PRELOAD), so it also reaches what Arrow and Pillow write. A process that
injects faults is started by `restart_with_shim`, imports what it needs once, and forks a child for each trial.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
SHIM = "PTSAM_AUTO_TEST_SHIM"  # environment: the library that is loaded
LONGEST = 120.0  # seconds of one child


class Fault(IntEnum):
    """What happens at the n-th operation."""

    NONE = 0
    KILL = 1  # killed before it
    TEAR = 2  # killed after half of a write
    FULL = 3  # no space left, there and at all later writes
    BROKEN = 4  # an input/output error, once


def compiler() -> str | None:
    """Return a C compiler, or None: the faults at the n-th operation need one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def restart_with_shim() -> None:
    """Start this program again with the library loaded, unless it is."""
    if os.environ.get(SHIM):
        return
    folder = Path(tempfile.mkdtemp(prefix="ptsam-shim-"))
    library = folder / "shim.so"
    subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), SHIM: str(library), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run([sys.executable, "-m", "tests.faults", *sys.argv[1:]], env=environment, check=False)
    finally:
        shutil.rmtree(folder)
    sys.exit(done.returncode)


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        code: Exit code; below 0 the number of the signal that killed it.
        said: What it wrote to standard output and standard error.
        operations: Number of operations on files; 0 if it was killed.
        timed_out: Whether it ran too long.
    """

    code: int
    said: str
    operations: int
    timed_out: bool = False

    @property
    def was_killed(self) -> bool:
        return self.code < 0

    @property
    def has_traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said


def run(
    work: Callable[[], object],
    below: Path,
    fault: Fault = Fault.NONE,
    number: int = -1,
    signals: tuple[tuple[float, int], ...] = (),
    wait: bool = True,
) -> Ended:
    """Run a function in a child process.

    Args:
        work: The function; it may end with SystemExit.
        below: Folder whose files count.
        fault: What happens.
        number: Number of the operation at which it happens, from 0.
        signals: Signals that are sent, each with the seconds after the start.
        wait: Must be True; see `start` for children that run at the same time.
    """
    assert wait
    return end(start(work, below, fault, number), signals)


@dataclass(frozen=True)
class Child:
    """A child that runs."""

    process: int
    said: Path
    began: float


def start(work: Callable[[], object], below: Path, fault: Fault = Fault.NONE, number: int = -1) -> Child:
    """Start a function in a child process; see `run`."""
    handle, name = tempfile.mkstemp(prefix="ptsam-said-")
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(handle)
        return Child(process, Path(name), time.monotonic())
    code = 70
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        library = ctypes.CDLL(os.environ[SHIM]) if os.environ.get(SHIM) else None
        if library is not None:
            library.faults_arm(str(below.resolve()).encode(), ctypes.c_long(number), int(fault))
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if library is not None:
            operations = library.faults_seen(-1)
            library.faults_disarm()
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(1, f"\noperations {operations}\n".encode())
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def end(child: Child, signals: tuple[tuple[float, int], ...] = ()) -> Ended:
    """Wait for a child, and send it signals meanwhile."""
    waiting = list(signals)
    timed_out = False
    while True:
        done, status = os.waitpid(child.process, os.WNOHANG)
        if done:
            break
        passed = time.monotonic() - child.began
        if waiting and passed >= waiting[0][0]:
            os.kill(child.process, waiting.pop(0)[1])
        if passed > LONGEST and not timed_out:
            timed_out = True
            os.kill(child.process, signal.SIGKILL)
        time.sleep(0.005)
    said = child.said.read_text(errors="replace")
    child.said.unlink()
    said, _, operations = said.partition("\noperations ")
    return Ended(os.waitstatus_to_exitcode(status), said, int(operations or 0), timed_out)
