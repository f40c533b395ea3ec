"""A journal keeps every event that was written, and nothing of one that was not."""

import json
import threading
from dataclasses import dataclass

import pytest

from ptsam_auto.errors import OutputError
from ptsam_auto.experiment.journal import Journal, read


@dataclass(frozen=True)
class Event:
    event: int
    padding: str = ""


def test_a_line_that_was_cut_short_is_not_read_and_not_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write(Event(1))
    with path.open("ab") as file:
        file.write(b'{"event": 2')
    events, offset = read(path, Event)
    assert events == [Event(1)]
    with Journal(path) as journal:
        journal.write(Event(3))
    assert read(path, Event, offset)[0] == [Event(3)]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"event": 1, "padding": ""},
        {"event": 3, "padding": ""},
    ]


def write_many(path):
    with Journal(path) as journal:
        for number in range(300):
            journal.write(Event(number, "x" * number))


def test_a_reader_never_sees_half_an_event(tmp_path):
    path = tmp_path / "journal.jsonl"
    writer = threading.Thread(target=write_many, args=(path,))
    writer.start()
    seen, offset = [], 0
    while len(seen) < 300 and (writer.is_alive() or read(path, Event, offset)[0]):
        events, offset = read(path, Event, offset)
        seen += [event.event for event in events]
    writer.join()
    assert seen == list(range(300))


def test_a_damaged_line_is_said_by_its_place(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write(Event(1))
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"event": "two", "padding": ""}\n')
    with pytest.raises(OutputError) as error:
        read(path, Event)
    assert str(error.value) == (
        f"{path} is damaged at byte {whole} (event: Input should be a valid integer).\n"
        "Restore it from a copy, or choose another --out to start again."
    )
