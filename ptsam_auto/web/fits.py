"""Runs `fit` as a process of its own, one at a time, and knows how far it is.

The process writes one JSON object per line, as `commands.fit_reported` says; other lines are messages. Each fit has a
new folder, so that no specialist is replaced.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ptsam_auto.errors import PtsamError
from ptsam_auto.specialist.layout import RECORD_FILE
from ptsam_auto.terminal import printable

State = Literal["none", "running", "loading", "done", "failed", "stopped"]
LAST_LINES = 60  # lines that are kept of a fit
GRACE = 20.0  # seconds until a process that does not stop is killed


class BusyError(PtsamError):
    """A fit is running already."""


@dataclass(frozen=True)
class FitCommand:
    """How a fit is started.

    Args:
        out: Folder of the first specialist; those that follow have the same name with a number.
        words: Returns the command for an output folder.
    """

    out: Path
    words: Callable[[Path], Sequence[str]]

    def finished(self) -> list[Path]:
        """Return the specialists of earlier fits, the oldest first."""
        found = {1: self.out}
        for path in self.out.parent.glob(f"{self.out.name}-*"):
            number = path.name.removeprefix(f"{self.out.name}-")
            if number.isdigit() and not number.startswith("0"):
                found[int(number)] = path
        return [found[number] for number in sorted(found) if (found[number] / RECORD_FILE).is_file()]

    def next_folder(self, taken: Collection[str] = ()) -> Path:
        """Return a folder that does not exist, and whose name is not taken."""
        number, folder = 1, self.out
        while folder.exists() or folder.name in taken:
            number += 1
            folder = self.out.with_name(f"{self.out.name}-{number}")
        return folder


@dataclass
class Progress:
    """What is known of the last fit.

    Args:
        state: Where it is.
        specialist: Name of the folder that it writes, or "".
        masks: Number of annotated images when it was started.
        stage: What it does, such as "Training", or "".
        done: Number of steps of the stage that are done.
        total: Number of steps of the stage, or 0 if it is not known.
        note: What it says of the step.
        lines: The last messages.
        started: When it was started, seconds of `time.monotonic`.
        seconds: Its duration after its end.
    """

    state: State = "none"
    specialist: str = ""
    masks: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    started: float = 0.0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON types."""
        seconds = time.monotonic() - self.started if self.state in ("running", "loading") else self.seconds
        about = {
            name: getattr(self, name) for name in ("state", "specialist", "masks", "stage", "done", "total", "note")
        }
        return {**about, "lines": list(self.lines), "seconds": round(seconds, 1)}


class Fits:
    """Starts fits, one at a time.

    Args:
        command: How a fit is started.
        finished: Function that is called with the folder of a new specialist, in a thread.
        taken: Function that returns the names that a new specialist cannot have.
    """

    def __init__(
        self,
        command: FitCommand,
        finished: Callable[[Path], None],
        taken: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.command = command
        self.progress = Progress()
        self._finished, self._taken = finished, taken
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = False
        self._watcher: threading.Thread | None = None
        atexit.register(self.stop)  # The process is not a child that Ctrl-C reaches.

    @property
    def is_running(self) -> bool:
        """Return whether a fit runs, or its specialist is loaded."""
        return self.progress.state in ("running", "loading")

    def start(self, masks: int) -> None:
        """Start a fit.

        Args:
            masks: Number of annotated images, for those who watch it.

        Raises:
            BusyError: A fit is running already.
        """
        with self._lock:
            if self.is_running:
                raise BusyError("A fit is running. Wait until it has ended, or stop it.")
            out = self.command.next_folder(self._taken())
            self.progress = Progress("running", out.name, masks, started=time.monotonic())
            self._stopping = False
            self._process = subprocess.Popen(
                [*self.command.words(out)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                start_new_session=True,  # with its worker processes, so that all of them can be stopped
            )
            self._watcher = threading.Thread(target=self._watch, args=(self._process, out), daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """Stop the fit that runs, and wait for its end. What it has written is removed."""
        process, watcher = self._process, self._watcher
        if process is None or watcher is None or not self.is_running:
            return
        self._stopping = True
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            watcher.join(GRACE)
            if not watcher.is_alive():
                return

    def _watch(self, process: subprocess.Popen[str], out: Path) -> None:
        """Follow a fit to its end."""
        progress = self.progress
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._read(line, progress)
        code = process.wait()
        progress.stage = progress.note = ""
        progress.done = progress.total = 0
        finished = (out / RECORD_FILE).is_file()
        if code == 0 and finished:
            progress.state = "loading"
            try:
                self._finished(out)
                end: State = "done"
            except PtsamError as error:
                progress.lines.extend(str(error).splitlines())
                end = "failed"
        else:
            if not finished and out.is_dir() and not out.is_symlink():
                shutil.rmtree(out, ignore_errors=True)  # It did not exist before this fit.
            end = "stopped" if self._stopping else "failed"
        progress.seconds = time.monotonic() - progress.started
        progress.state = end

    def _read(self, line: str, progress: Progress) -> None:
        """Take a line of the process: JSON of `fit`'s progress, or a message."""
        try:
            event = json.loads(line) if line.startswith("{") else None
            if event is None:
                raise ValueError
            if "say" in event:
                progress.lines.extend(str(event["say"]).splitlines())
                return
            stage, done, total, note = str(event["stage"]), int(event["done"]), int(event["total"]), str(event["note"])
            progress.stage, progress.done, progress.total, progress.note = stage, done, total, note
        except (ValueError, KeyError, TypeError):
            if text := printable(line.rstrip()):
                progress.lines.append(text)
