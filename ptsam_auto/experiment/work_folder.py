"""Output folders with a lock: only one process can use a folder, and folders with other files are rejected."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from filelock import FileLock, Timeout

from ptsam_auto.errors import OutputError
from ptsam_auto.files import remove_unfinished, write_text
from ptsam_auto.records import to_sealed_json

MAX_VALUE_LENGTH = 60  # Largest number of characters of a value in a message.
LOCK_FILE = "lock"


@contextmanager
def locked_folder(folder: Path, marker: str, what: str, out: Path | None = None) -> Iterator[None]:
    """Lock a folder inside the `with` block, so that no other process uses it.

    A folder with files is accepted only if it contains the marker file. If the block ends before the marker file is
    written, the folder is removed again, so a wrong input leaves no files behind.

    Args:
        folder: The folder; it is created if it is missing.
        marker: Name of the file that marks the folder as created by this command. The caller writes it.
        what: Kind of work, for messages: "search".
        out: Folder as the user named it, for messages. Default: `folder`.

    Raises:
        OutputError: The folder contains other files, is a link inside `out`, is used by another process, or cannot be
            written to.
    """
    if out is not None and folder.is_symlink():
        raise OutputError(f"{folder} is a link to another folder; expected a folder of its own.\nRemove the link.")
    out = out or folder
    if folder.is_dir() and not (folder / marker).exists() and any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise OutputError(
            f"{folder} is not empty and does not contain a {what}.\nChoose another --out, or empty the folder first."
        )
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OutputError(f"{out} is in use by another {what}.\nWait until it ends, or choose another --out.") from None
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.\nChoose another --out.") from None
    remove_unfinished(folder, recursive=True)
    try:
        yield
    finally:
        lock.release()
        if folder.is_dir() and not (folder / marker).exists():
            (folder / LOCK_FILE).unlink(missing_ok=True)
            with suppress(OSError):  # Only empty folders are removed.
                folder.rmdir()
                out.rmdir()


def remove_locked_folder(folder: Path, marker: str) -> None:
    """Remove a folder that is locked by `locked_folder`.

    The marker is removed last but for the lock, so a folder that is half removed is still known as ours.

    Args:
        folder: The folder.
        marker: Name of the file that marks it.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (marker, LOCK_FILE):
            path.unlink()
    (folder / marker).unlink(missing_ok=True)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Origin:
    """The origin of an experiment.

    Args:
        id: Unique identifier.
        created: Date and time, ISO 8601, UTC.
        versions: Versions of the packages that ran it.
        commit: Git commit of ptsam-auto if it ran from a git clone, otherwise None.
    """

    id: str
    created: str
    versions: dict[str, str]
    commit: str | None

    @classmethod
    def now(cls, packages: Sequence[str]) -> "Origin":
        """Return the origin of a new experiment.

        Args:
            packages: Names of the packages whose versions are saved.
        """
        return cls(
            id=uuid.uuid4().hex,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={package: version(package) for package in packages},
            commit=_commit(),
        )


def check_same_request(folder: Path, what: str, earlier: Any, now: Any) -> None:  # noqa: ANN401 - dataclasses
    """Check that an experiment is continued with the same options.

    Args:
        folder: Folder of the experiment, for the message.
        what: Kind of experiment, for the message.
        earlier: Request of the first call, a dataclass.
        now: Request of this call, a dataclass of the same type.

    Raises:
        OutputError: The requests differ. The message lists every difference.
    """
    before, after = _plain(earlier), _plain(now)
    differences = [
        f"  {key}: {_short(before.get(key))} in the folder, {_short(after[key])} in this command"
        for key in after
        if after[key] != before.get(key)
    ]
    if differences:
        first = f"{folder} contains a {what} with other options:"
        raise OutputError("\n".join([first, *differences, "Choose another --out, or use the same options as before."]))


class _WithRequest(Protocol):
    """A record that contains the request of an experiment."""

    @property
    def request(self) -> Any:  # noqa: ANN401 - a dataclass
        """Return the request."""


Record = TypeVar("Record", bound=_WithRequest)


def existing_or_new_record(
    path: Path,
    what: str,
    request: Any,  # noqa: ANN401 - a dataclass
    read: Callable[[Path], Record],
    new: Callable[[], Record],
) -> Record:
    """Return the record of an experiment: the first call writes it, later calls check that the request is the same.

    Args:
        path: File of the record, in the folder of the experiment.
        what: Kind of experiment, for messages.
        request: Request of this call, a dataclass.
        read: Function that reads the record in a folder.
        new: Function that returns the record of a new experiment.

    Raises:
        OutputError: The request differs from that of the first call. The message lists every difference.
    """
    if path.exists():
        record = read(path.parent)
        check_same_request(path.parent, what, record.request, request)
        return record
    record = new()
    write_text(path, to_sealed_json(record, indent=2))
    return record


def _plain(request: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a dataclass
    """Convert to plain JSON types (tuples become lists)."""
    return json.loads(json.dumps(asdict(request)))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 4]} ..."


def _commit() -> str | None:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
