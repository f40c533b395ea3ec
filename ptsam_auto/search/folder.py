"""A folder that long work goes on in: whose it is, and which code works in it."""

import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ptsam_auto.errors import OutputError, Problem, listed

SHOWN = 60  # characters of a value in a message


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


def begun(path: Path, what: str, asked: Mapping[str, Any], packages: Sequence[str], **more: object) -> dict[str, Any]:
    """What the work in a folder was begun with: noted by the first run, and every later one must ask for the same.

    Args:
        path: of the note, JSON.
        what: works there, for messages: "search".
        asked: all that decides what comes of it; JSON types, or what becomes them.
        packages: whose versions are noted.
        more: to be noted too.

    Returns:
        The note: id, created, asked, versions, commit, and more.

    Raises:
        OutputError: something else was asked for before.
    """
    asked = json.loads(json.dumps(asked))
    if path.exists():
        note = json.loads(path.read_text())
        problems = [
            Problem(key, f"{_short(note['asked'].get(key))} there, {_short(asked[key])} here")
            for key in asked
            if asked[key] != note["asked"].get(key)
        ]
        if problems:
            advice = "Choose another --out, or ask for the same as before."
            raise OutputError(listed(f"{path.parent}, as another {what},", problems, advice))
        return note
    note = {
        "id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "asked": asked,
        **more,
        "versions": {package: version(package) for package in packages},
        "commit": _commit(),
    }
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(note, indent=2))
    unfinished.replace(path)
    return note


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < SHOWN else f"{text[: SHOWN - 4]} ..."


def _commit() -> str | None:
    """Of our own code, where it runs from a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
