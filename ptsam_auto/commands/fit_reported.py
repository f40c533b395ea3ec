"""`python -m ptsam_auto.commands.fit_reported`: the command `fit`, which reports its progress as JSON, one line each.

{"say": TEXT} is a message, and {"stage": TEXT, "done": N, "total": N, "note": TEXT} is the state of a progress bar; a
total of 0 is not known. Errors are plain text. The page of `serve` and `annotate` reads it.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType

from ptsam_auto.commands.command_line import command
from ptsam_auto.commands.options import FitOptions, check_paths
from ptsam_auto.errors import PtsamError
from ptsam_auto.terminal import Terminal, Update, printable

SECONDS = 0.2  # between two lines about the same bar


class ReportingTerminal(Terminal):
    """Writes messages and progress as JSON, one line each, to standard output."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True), Console(quiet=True))

    def say(self, text: str) -> None:
        """See `Terminal.say`."""
        _write({"say": printable(text)})

    def result(self, text: str) -> None:
        """See `Terminal.result`."""
        self.say(text)

    @contextmanager
    def bar(self, stage: str) -> Iterator[Update]:
        """See `Terminal.bar`."""
        written = 0.0

        def update(done: int, total: int, note: str = "", table: RenderableType | None = None) -> None:  # noqa: ARG001
            nonlocal written
            if time.monotonic() - written >= SECONDS or done == total:
                written = time.monotonic()
                _write({"stage": stage, "done": done, "total": total or 0, "note": printable(note)})

        yield update


def _write(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _run(options: FitOptions) -> None:
    check_paths(options)
    from ptsam_auto.commands.fit import fit

    fit(options, ReportingTerminal())


def main() -> None:
    """Run `fit` with the options of the command line. Exit code 1: an error that the user can correct."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command(FitOptions, _run, "Run fit, and report its progress as JSON."))
    try:
        app()
    except PtsamError as error:
        typer.echo(f"{error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
