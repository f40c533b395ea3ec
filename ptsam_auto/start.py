"""The program `ptsam-auto`: Ctrl-C is no traceback, also while packages are imported and while it is cleaning up."""

import atexit
import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit code, as shells know it


def main() -> None:
    """Run `ptsam-auto`; see `cli.main`. A second Ctrl-C ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # It may be ignored, as with nohup.
        signal.signal(signal.SIGINT, _interrupt)
    # At its end Python would look for cycles among the half a million objects of the packages, which takes a second.
    atexit.register(gc.freeze)
    try:
        from ptsam_auto.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as Python calls it
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    raise KeyboardInterrupt
