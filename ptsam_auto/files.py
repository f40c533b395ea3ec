"""Functions that write files atomically and compute SHA-256 hashes."""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ptsam_auto.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT)
FAILING = (errno.EIO, errno.EROFS)  # A disk with errors is often mounted again for reading only.
TEMPORARY_SUFFIX = ".part"  # Suffix of a file that is being written.
UNFINISHED = re.compile(r"\..+-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)\.part", re.DOTALL)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or failing disk in the `with` block into a message. Other errors stay as they are.

    Args:
        path: File that is written, for the message.

    Raises:
        OutputError: The disk is full, or does not work.
    """
    try:
        yield
    except OSError as error:
        if (of_disk := disk_error(error, path)) is not None:
            raise of_disk from None
        raise


def disk_error(error: OSError, path: Path | None = None) -> OutputError | None:
    """Return the message about a full or failing disk; None for all other errors.

    Args:
        error: Error of the system.
        path: File that is written. Default: the one that the error names, if it names any.
    """
    if path is None and isinstance(error.filename, str):
        path = Path(error.filename)
    what, where = (str(path), f" of {path.absolute().parent}") if path else ("a file", "")
    if error.errno in FULL:
        return OutputError(
            f"The disk is full (or your quota is used up): {what} cannot be written.\n"
            f"Free some space on the disk{where}, then run the command again; what is finished is kept."
        )
    if error.errno in FAILING:
        return OutputError(
            f"The disk does not work: {what} cannot be written ({error.strerror}).\n"
            f"Check the disk{where}, or choose a folder on another disk."
        )
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` when the block ends without an error.

    Other processes see the old or the new file, never an incomplete one, even after a power failure. Two processes may
    write the same path at the same time: each has its own temporary file, and the file of the process that finishes
    last is kept. After an error the temporary file is removed and the old file stays.

    Args:
        path: File in an existing folder; it is replaced if it exists.

    Raises:
        OutputError: The disk is full or does not work.
        OSError: The folder cannot be written to.
    """
    with disk_errors(path):
        handle, name = tempfile.mkstemp(f"-{_this_process()}{TEMPORARY_SUFFIX}", f".{path.name}.", path.parent)
        unfinished = Path(name)
        try:
            os.close(handle)
            yield unfinished
            with unfinished.open("r+b") as file:
                os.fsync(file.fileno())
            # mkstemp creates files that only the owner can read; restore the usual permissions.
            unfinished.chmod(0o666 & ~_umask())
            unfinished.replace(path)
            sync_folder(path.parent)
        finally:
            with suppress(FileNotFoundError):
                unfinished.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a folder to make; it replaces `path` when the block ends without an error.

    Raises:
        OutputError: The disk is full or does not work.
        OSError: The folder cannot be written to.
    """
    unfinished = path.with_name(_unfinished_name(path))
    with disk_errors(path):
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            yield unfinished
            if path.exists():
                shutil.rmtree(path)
            unfinished.rename(path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished_name(path: Path) -> str:
    """Return a hidden name for something of this process that will replace a path when it is complete."""
    return f".{path.name}.-{_this_process()}{TEMPORARY_SUFFIX}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically; see `replacing`. What cannot be UTF-8, as in some file names, gets a backslash."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    """Write indented JSON atomically; see `replacing`."""
    write_text(path, json.dumps(content, indent=2))


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Read a file that may come from somebody else. Of a file that is too large, only the limit is read.

    Args:
        path: The file.
        most_bytes: Largest size of the file.

    Raises:
        ValueError: The file is larger.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content


def read_utf8(path: Path, most_bytes: int) -> str:
    """Read a UTF-8 file; see `read_bytes`. A byte order mark at its beginning is dropped.

    Raises:
        ValueError: The file is larger, or is not UTF-8.
        OSError: The file cannot be read.
    """
    return read_bytes(path, most_bytes).decode("utf-8-sig")


def remove_unfinished(folder: Path, *, recursive: bool = False) -> None:
    """Remove temporary files that processes of this machine have left in a folder because they were killed.

    Args:
        folder: The folder; it need not exist.
        recursive: Whether to look into its subfolders, too.
    """
    for path in folder.glob(f"{'**/' * recursive}.*{TEMPORARY_SUFFIX}"):
        found = UNFINISHED.fullmatch(path.name)
        if found is not None and found["machine"] == _machine() and not _is_running(int(found["process"])):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string; of a folder, that of the names and hashes of its files.

    Raises:
        OSError: The file cannot be read.
    """
    if path.is_dir():
        inner = sorted(one for one in path.rglob("*") if one.is_file())
        return json_sha256([[one.relative_to(path).as_posix(), file_sha256(one)] for one in inner])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(content: Any) -> str:  # noqa: ANN401 - JSON
    """Return the SHA-256 of a JSON value as a hexadecimal string, independent of the order of the keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _this_process() -> str:
    return f"{_machine()}-{os.getpid()}"


def _machine() -> str:
    """Return a short name of this machine, as far as it shares its numbers of processes."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    if os.name != "posix":  # On Windows, os.kill would end it.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # It runs, but is somebody else's; or this system cannot say.
        return True
    return True


def _umask() -> int:
    """Return the umask of the process. It can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Write a rename to disk (fsync of the folder). Not all systems support it, for example Windows."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
