"""A folder that long work goes on in: whose it is, and which code works in it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ptsam_auto.errors import OutputError


@contextmanager
def claimed(out: Path, about: str, what: str) -> Iterator[None]:
    """The folder is ours, and nobody else's, for as long as this lasts; bad input leaves nothing behind.

    Args:
        out: made if it is missing.
        about: the file that makes a folder one of ours.
        what: works in it, for messages: "search".

    Raises:
        OutputError: the folder holds other work, is in use, or cannot be written to.
    """
    if out.is_dir() and not (out / about).exists() and any(path.name != "lock" for path in out.iterdir()):
        raise OutputError(f"{out} is not empty and not a {what}.\nChoose another --out, or empty it first.")
    lock = FileLock(out / "lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{out} is being worked on by another {what}.\nWait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.\nChoose another --out.") from None
    try:
        yield
    finally:
        lock.release()
        if not (out / about).exists():
            (out / "lock").unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()


def commit() -> str | None:
    """Of our own code, where it runs from a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
