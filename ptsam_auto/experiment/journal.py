"""The event log of an experiment: one JSON object per line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from ptsam_auto.errors import OutputError
from ptsam_auto.records import RecordError, from_json, to_json

Event = TypeVar("Event")


class Journal:
    """Appends events to a file.

    An event is on disk when `write` returns. Only one process may write; any number of processes may read.

    Args:
        path: File of the journal. An incomplete last line, from a process that was terminated, is removed.
    """

    def __init__(self, path: Path) -> None:
        complete_bytes = sum(len(line) for line in _lines(path, 0))
        self._file = path.open("ab")
        self._file.truncate(complete_bytes)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: Any) -> None:  # noqa: ANN401 - a dataclass
        """Append one event, a dataclass of JSON types."""
        self._file.write(to_json(event).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read(path: Path, kind: type[Event], offset: int = 0) -> tuple[list[Event], int]:
    """Read the events from an offset on. An incomplete last line is ignored.

    Args:
        path: File of the journal. If it does not exist, there are no events.
        kind: Type of the events: a dataclass, or a union of dataclasses.
        offset: Offset in bytes.

    Returns:
        The events, and the offset after the last of them.

    Raises:
        OutputError: A line is not an event of this type.
    """
    events = []
    for line in _lines(path, offset):
        try:
            events.append(from_json(kind, line))
        except RecordError as error:
            raise OutputError(
                f"{path} is damaged at byte {offset} ({error}).\n"
                "Restore it from a copy, or choose another --out to start again."
            ) from None
        offset += len(line)
    return events, offset


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    """Yield the complete lines from an offset on."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line
