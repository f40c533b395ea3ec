"""A file of ours is whole or absent, whatever happens while it is written."""

import ast
import os
from pathlib import Path

import pytest

from ptsam_auto.files import json_sha256, replacing, write_json, write_text


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "old Ω")
    with pytest.raises(ZeroDivisionError), replacing(path) as unfinished:  # noqa: PT012
        unfinished.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text(encoding="utf-8") == "old Ω"
    assert [each.name for each in tmp_path.iterdir()] == ["note.txt"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "note.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the outer block ends last"


def test_a_finished_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    write_json(tmp_path / "ours", {})
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "note.txt", "")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_the_order_of_keys_does_not_change_a_name():
    assert json_sha256({"a": 1, "b": [2]}) == json_sha256({"b": [2], "a": 1})
    assert json_sha256({"a": 1}) != json_sha256({"a": 2})


def test_text_files_name_their_encoding_or_a_file_name_with_an_omega_breaks_windows():
    unnamed = []
    for path in (Path(__file__).parents[1] / "ptsam_auto").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            modes = [word.value for word in call.args if isinstance(word, ast.Constant)]
            if name == "read_text" or (name == "open" and modes and modes[0] in ("r", "w", "a", "x")):
                unnamed.append(f"{path.name}:{call.lineno}")
    assert unnamed == []


def test_a_name_that_is_not_utf_8_breaks_no_text_file(tmp_path):
    """Such as a file name from a Windows share in Latin-1."""
    write_text(tmp_path / "report.html", "Fl\udce4che.png")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == r"Fl\udce4che.png"
