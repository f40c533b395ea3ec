"""What happened, a line of JSON an event, on disk before anyone else is told: the one truth about a search."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """Appends events; each is on the disk when `write` returns. One process writes, any number read.

    Args:
        path: of the file; a line that an earlier writer's death cut short is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = sum(length for _, length in _lines(path, 0))
        self._file = path.open("ab")
        self._file.truncate(whole)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: Event) -> None:
        """Append one event; its values are JSON's."""
        self._file.write(json.dumps(event).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events from an offset on, and the offset behind them; a line still being written is left for the next time."""
    events = []
    for line, length in _lines(path, offset):
        events.append(json.loads(line))
        offset += length
    return events, offset


def _lines(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line, len(line)
