"""The event log of an experiment: one JSON object per line, with a checksum; see `records.to_sealed_json`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from ptsam_auto.errors import OutputError
from ptsam_auto.files import disk_errors, sync_folder
from ptsam_auto.records import MOST_BYTES, RecordError, from_json, to_sealed_json

Event = TypeVar("Event")


class Journal:
    """Appends events to a file.

    An event is on disk when `write` returns. Only one process may write; any number of processes may read.

    Args:
        path: File of the journal. An incomplete last line, from a process that was terminated, is removed.
    """

    def __init__(self, path: Path) -> None:
        complete_bytes = sum(len(line) for line in _lines(path, 0))
        self._path = path
        with disk_errors(path):
            self._file = path.open("ab", buffering=0)
            self._file.truncate(complete_bytes)
            sync_folder(path.parent)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: Any) -> None:  # noqa: ANN401 - a dataclass
        """Append one event, a dataclass of JSON types. After an error the journal is as it was before.

        Raises:
            OutputError: The disk is full or does not work.
        """
        before = os.fstat(self._file.fileno()).st_size
        left = memoryview(to_sealed_json(event).encode() + b"\n")
        try:
            with disk_errors(self._path):
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(before)
            raise


def read(path: Path, kind: type[Event], offset: int = 0) -> tuple[list[Event], int]:
    """Read the events from an offset on. An incomplete last line is ignored.

    Args:
        path: File of the journal. If it does not exist, there are no events.
        kind: Type of the events: a dataclass, or a union of dataclasses.
        offset: Offset in bytes.

    Returns:
        The events, and the offset after the last of them.

    Raises:
        OutputError: A line is not an event of this type, or has changed since it was written.
    """
    events = []
    for line in _lines(path, offset):
        try:
            events.append(from_json(kind, line))
        except RecordError as error:
            raise damaged(path, f"at byte {offset}", str(error)) from None
        offset += len(line)
    return events, offset


def damaged(path: Path, where: str, what: str) -> OutputError:
    """Return the error about a damaged journal, such as "at byte 17"."""
    return OutputError(
        f"{path} is damaged {where} ({what}).\nRestore it from a copy, or choose another --out to start again."
    )


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    """Yield the complete lines from an offset on. Of a line that is too long, a part is yielded as if it were one."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        while line := file.readline(MOST_BYTES + 2):
            if not line.endswith(b"\n") and len(line) <= MOST_BYTES:
                return
            yield line
