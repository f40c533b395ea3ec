"""The program `ptsam-auto`: Ctrl-C is no traceback, also while the packages of the command line are imported."""

import sys

INTERRUPTED = 130  # exit code, as shells know it


def main() -> None:
    """Run `ptsam-auto`; see `cli.main`."""
    try:
        from ptsam_auto.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)
