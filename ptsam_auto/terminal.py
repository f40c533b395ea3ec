"""Console output: messages, progress bars and results."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

LOG_SECONDS = 60.0  # Interval of the lines that show the progress if the output is not a terminal.
CELL_SECONDS = 0.5  # Interval at which a bar in a notebook is shown anew.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
DEFAULT_WIDTH = 140  # Width of a table in characters if standard output is not a terminal.


def printable(text: str) -> str:
    r"""Return a text without characters that a terminal would obey or cannot show, as in a hostile file name.

    They are written as \x1b or \udce4; lines and tabulators are kept.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class Update(Protocol):
    """Shows how far something is: what `Terminal.bar` yields."""

    def __call__(self, done: int, total: int, note: str = "", table: RenderableType | None = None) -> None:
        """Show that `done` of `total` are done, with a note, and in a terminal with a table above."""


class _BarWithTable(Progress):
    """A progress bar, with a table of what there is so far above it."""

    table: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.table is not None:
            yield self.table
        yield from super().get_renderables()


class _BarInCell(_BarWithTable):
    """A progress bar as text in the output of a notebook's cell, where the next state replaces it.

    Rich's own bars need ipywidgets in a notebook, and warn at each refresh where there is none.
    """

    _place: Any = None  # of IPython, which is there in a notebook only
    _shown = float("-inf")

    def start(self) -> None:
        """Do nothing: there is no thread that refreshes it."""

    def stop(self) -> None:
        """Show the last state, which stays."""
        self._show()

    def show_now_and_then(self) -> None:
        """Show the bar, unless that has just been done."""
        if time.monotonic() - self._shown > CELL_SECONDS:
            self._show()

    def _show(self) -> None:
        from IPython.display import display

        self._shown = time.monotonic()
        with self.console.capture() as captured:
            self.console.print(self.get_renderable())
        text = captured.get().strip("\n")
        if text and self._place is None:
            self._place = display({"text/plain": text}, raw=True, display_id=True)
        elif text:
            self._place.update({"text/plain": text}, raw=True)


class Terminal:
    """Prints messages and progress bars to standard error, and results to standard output.

    In a notebook both are in the output of the cell.

    Args:
        console: Console for messages and progress bars. Default: standard error.
        out: Console for results. Default: standard output.
    """

    def __init__(self, console: Console | None = None, out: Console | None = None) -> None:
        self._in_cell = console is None and Console().is_jupyter
        # A notebook paints standard error as an error.
        self.console = console or Console(
            stderr=not self._in_cell, highlight=False, soft_wrap=True, force_jupyter=False
        )
        # If standard output is not a terminal, use a fixed width, so that tables are not wrapped.
        width = None if sys.stdout.isatty() else DEFAULT_WIDTH
        self.out = out or Console(highlight=False, width=width, force_jupyter=False)

    @classmethod
    def silent(cls) -> "Terminal":
        """Return a terminal that prints nothing."""
        return cls(Console(quiet=True), Console(quiet=True))

    @classmethod
    def where_seen(cls) -> "Terminal":
        """Return a terminal that prints in a terminal and in a notebook, and nothing elsewhere, such as in a script."""
        terminal = cls()
        return terminal if terminal.console.is_terminal or terminal._in_cell else cls.silent()

    @classmethod
    def results_only(cls) -> "Terminal":
        """Return a terminal that prints results and nothing else."""
        return cls(Console(quiet=True))

    def say(self, text: str) -> None:
        """Print a message without markup."""
        self.console.print(printable(text), markup=False)

    def result(self, text: str) -> None:
        """Print a result to standard output without markup."""
        self.out.print(printable(text), markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, stage: str) -> Iterator[Update]:
        """Show a progress bar. Yield a function `update(done, total, note="", table=None)`.

        The table, if there is one, stands above the bar in a terminal and in a notebook, and is replaced by the next
        one. A log file shows the note alone.
        """
        columns = (
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        bar_type = _BarInCell if self._in_cell else _BarWithTable
        with bar_type(*columns, console=self.console) as progress:
            # The bar is hidden until the first update, because some stages have nothing to do.
            task = progress.add_task(stage, total=None, note="", visible=False)
            printed = time.monotonic()

            def update(done: int, total: int, note: str = "", table: RenderableType | None = None) -> None:
                nonlocal printed
                if self.console.is_terminal or self._in_cell:
                    progress.table = table
                progress.update(task, completed=done, total=total or None, note=printable(note), visible=True)
                if isinstance(progress, _BarInCell):
                    progress.show_now_and_then()
                # A log file shows a bar only at its end.
                elif not self.console.is_terminal and time.monotonic() - printed > LOG_SECONDS:
                    printed = time.monotonic()
                    self.say(f"{stage} {done}{f'/{total}' if total else ''} {note}".rstrip())

            yield update


def table_of(*headings: str, title: str | None = None) -> Table:
    """Return a table for these columns whose long words are folded: the name of a file or of a member is never cut."""
    table = Table(title=title, title_justify="left", title_style="")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


@contextmanager
def repeatedly(show: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function at an interval in a thread, inside the `with` block: it shows what other processes have done.

    Args:
        show: Function without arguments.
        seconds: Interval.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds):
            show()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


class NoteTerminal(Terminal):
    """Shows progress as a short note instead of a bar of its own, and prints nothing else.

    Args:
        show: Function that is called with each note, such as "training 3/20".
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(Console(quiet=True), Console(quiet=True))
        self._show = show

    @contextmanager
    def bar(self, stage: str) -> Iterator[Update]:
        """See `Terminal.bar`."""

        def update(done: int, total: int, note: str = "", table: RenderableType | None = None) -> None:  # noqa: ARG001
            self._show(f"{stage.lower()} {done}/{total}")

        yield update
