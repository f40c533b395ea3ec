"""A journal keeps every event that was written, and nothing of one that was not."""

import errno
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
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [1, 3]


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


def test_a_digit_that_changed_on_the_disk_is_noticed(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write(Event(1))
        journal.write(Event(2))
    path.write_bytes(path.read_bytes().replace(b'"event": 2', b'"event": 3'))
    with pytest.raises(OutputError, match=r"is damaged at byte \d+ \(it has changed since it was written"):
        read(path, Event)


def test_journals_of_earlier_versions_without_checksums_are_read(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": 1, "padding": ""}\n')
    with Journal(path) as journal:
        journal.write(Event(2))
    assert read(path, Event)[0] == [Event(1), Event(2)]


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("ptsam_auto.experiment.journal.MOST_BYTES", 1000)
    monkeypatch.setattr("ptsam_auto.records.MOST_BYTES", 1000)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(bytes(10_000))
    with pytest.raises(OutputError, match="is damaged at byte 0"):
        read(path, Event)


def test_an_event_that_the_full_disk_cut_short_does_not_spoil_the_next_ones(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.write(Event(1))
        file = journal._file

        class Full:
            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, content):
                if file.tell() > 100:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return file.write(content[:60])

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(OutputError) as error:
            journal.write(Event(2, "x" * 200))
        assert str(error.value) == (
            f"The disk is full (or your quota is used up): {path} cannot be written.\n"
            f"Free some space on the disk of {tmp_path}, then run the command again; what is finished is kept."
        )
        monkeypatch.setattr(journal, "_file", file)
        journal.write(Event(3))
    assert read(path, Event)[0] == [Event(1), Event(3)]
