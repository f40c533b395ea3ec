"""Runs the folds of cross-fits one after another in this process, or several at the same time in other processes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ptsam_auto.errors import PtsamError
from ptsam_auto.experiment.cross_fit import CrossFitting
from ptsam_auto.files import write_text
from ptsam_auto.terminal import NoteTerminal, repeatedly

PROGRESS_FILE = "progress.txt"  # In the folder of a fold; another process writes what it is doing.
START_SECONDS = 0.5  # time that each process waits after its start
POLL_SECONDS = 0.5  # Interval at which the progress is written and read.

Work = Callable[[int], str | None]  # It runs an item by its number, and returns the message of an error or None.


class FoldRunner(Protocol):
    """Runs folds."""

    @property
    def at_once(self) -> int:
        """Return the number of folds that run at the same time."""

    @property
    def threads(self) -> int | None:
        """Return the number of threads of each fold; None for that of this process."""

    @property
    def worth_from(self) -> float:
        """Return the duration of the work, seconds, from which on the runner is worth its start."""

    @property
    def most_gain(self) -> float:
        """Return how many times as fast as in this process the folds are run at most."""

    def start(self) -> None:
        """Start what it needs, so that this takes no time from the first cross-fit."""

    def run(self, cross_fits: Sequence[CrossFitting], show: Callable[[str], None]) -> None:
        """Run all folds that are not finished.

        Args:
            cross_fits: Cross-fits whose folds are run.
            show: Function that is called with what is being done.

        Raises:
            PtsamError: A training failed. The finished folds are kept.
        """


@dataclass(frozen=True)
class InThisProcess:
    """Runs folds in this process; those of one cross-fit are trained together where that is faster."""

    at_once: int = 1
    threads: int | None = None
    worth_from: float = 0.0
    most_gain: float = 1.0

    def start(self) -> None:
        """See `FoldRunner`; there is nothing to start."""

    def run(self, cross_fits: Sequence[CrossFitting], show: Callable[[str], None]) -> None:
        """See `FoldRunner`."""
        for cross_fit in cross_fits:
            cross_fit.run(cross_fit.missing, NoteTerminal(partial(_show_of, show, cross_fit.name)))


IN_THIS_PROCESS = InThisProcess()


@dataclass(frozen=True)
class InOtherProcesses:
    """Runs several folds at the same time, each in a process of its own.

    Args:
        each: Function that calls a function with each number from 0 to below a count, in other processes, and returns
            all results; see `experiment.processes.Processes.each` and `distributed.tasks.Tasks.each`.
        at_once: Number of processes.
        threads: Number of threads of each.
        worth_from: Duration of the work in seconds from which on the processes are worth their start.
        most_gain: How many times as fast as in this process the folds are run at most.
    """

    each: Callable[[Work, int], Sequence[str | None]]
    at_once: int
    threads: int
    worth_from: float = 0.0
    most_gain: float = math.inf

    def start(self) -> None:
        """See `FoldRunner`: start the processes, and let each import what a training needs."""
        self.each(_import, self.at_once)

    def run(self, cross_fits: Sequence[CrossFitting], show: Callable[[str], None]) -> None:
        """See `FoldRunner`."""
        items = [(cross_fit, number) for cross_fit in cross_fits for number in cross_fit.missing]
        if not items:
            return
        with repeatedly(partial(_show_running, items, show), POLL_SECONDS):
            messages = self.each(partial(_run, items, min(self.at_once, len(items))), len(items))
        if failed := [message for message in messages if message is not None]:
            raise PtsamError(failed[0])


def _import(number: int) -> None:  # noqa: ARG001 - each process does the same
    import albumentations  # noqa: F401 - imported late elsewhere, because it is slow

    time.sleep(START_SECONDS)  # so that no process does this twice and another one not at all


def _show_of(show: Callable[[str], None], name: str, note: str) -> None:
    show(f"{name}: {note}")


def _run(items: Sequence[tuple[CrossFitting, int]], at_once: int, index: int) -> str | None:
    """Run a fold in another process. Return the message if it failed because of a setting or the environment."""
    cross_fit, number = items[index]
    progress, written = cross_fit.fold_folder(number) / PROGRESS_FILE, 0.0

    def note(text: str) -> None:
        nonlocal written
        if time.monotonic() - written > POLL_SECONDS:
            progress.parent.mkdir(parents=True, exist_ok=True)
            write_text(progress, text)
            written = time.monotonic()

    try:
        cross_fit.run([number], NoteTerminal(note), at_once)
    except PtsamError as problem:
        return str(problem)
    return None


def _show_running(items: Sequence[tuple[CrossFitting, int]], show: Callable[[str], None]) -> None:
    """Show what the other processes have written."""
    running: dict[str, list[str]] = {}
    for cross_fit, number in items:
        if number in cross_fit.missing and (text := _read(cross_fit.fold_folder(number) / PROGRESS_FILE)):
            running.setdefault(cross_fit.name, []).append(text)
    show("; ".join(f"{name}: {', '.join(texts)}" for name, texts in running.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
