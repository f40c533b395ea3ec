"""What a person sees while long work runs: one line an event, one bar a stage."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

WIDE = 140  # characters


class Show:
    """Lines and progress bars on one console, results on another.

    Args:
        console: of progress; standard error by default, so that standard output stays for results.
        out: of results; standard output by default.
    """

    def __init__(self, console: Console | None = None, out: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        # In a file or a pipe there is no width to fit into; tables stay readable.
        self.out = out or Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)

    @classmethod
    def nothing(cls) -> "Show":
        """For callers that want silence."""
        return cls(Console(quiet=True), Console(quiet=True))

    def say(self, text: str) -> None:
        """One line, printed as it is."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, stage: str) -> Iterator[Callable[..., None]]:
        """A progress bar; yields a function to call with (done, total) and, if there is news, a note."""
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            # Not every stage turns out to have something to do.
            task = progress.add_task(stage, total=None, note="", visible=False)

            def update(done: int, total: int, note: str = "") -> None:
                progress.update(task, completed=done, total=total or None, note=note, visible=True)

            yield update
