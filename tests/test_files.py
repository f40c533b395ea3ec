"""A file of ours is whole or absent, whatever happens while it is written."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptsam_auto.errors import OutputError
from ptsam_auto.files import json_sha256, remove_unfinished, replacing, write_json, write_text


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


WRITERS = {"imwrite", "mknod", "new_file", "save", "save_file", "savefig", "write_bytes", "write_table", "write_text"}
WHOLE = ("unfinished", "buffer", "content", "temporary")  # what `replacing` yields, memory, and temporary folders
ALLOWED = {  # files that another process of ours reads meanwhile, or whose writer is the helper itself
    "baselines/nnunet.py", "baselines/nnunet_process.py", "distributed/workers_trainer.py", "experiment/journal.py",
    "files.py", "onnx/export.py", "sam/download.py", "svg.py",
}  # fmt: skip


def written_in_place(tree):
    """Yield the calls that write a file where readers can see it before it is whole."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        text, modes = (
            ast.unparse(call),
            [ast.unparse(word)[1:2] for word in call.args if isinstance(word, ast.Constant)],
        )
        opens = call.func.attr == "open" and any(mode in ("w", "a", "x") for mode in modes)
        if (opens or call.func.attr in WRITERS) and not any(word in text for word in WHOLE):
            yield text


def test_every_file_is_written_aside_and_renamed():
    """A power failure, a full disk or Ctrl-C would leave half a file with the name of a whole one."""
    root = Path(__file__).parents[1] / "ptsam_auto"
    found = {
        f"{path.relative_to(root).as_posix()}: {text}"
        for path in root.rglob("*.py")
        if path.relative_to(root).as_posix() not in ALLOWED
        for text in written_in_place(ast.parse(path.read_text(encoding="utf-8")))
    }
    # These call functions of ours that write files whole.
    ours = ("artifact.save(", "run.save(checkpoint)", "resume.save(")
    assert {text for text in found if not any(name in text for name in ours)} == set()


def test_the_walk_finds_what_is_written_in_place():
    program = "image.save(path)\npath.write_text('')\npath.open('w')\nnp.save(path, x)\nimage.save(unfinished)\n"
    assert len(list(written_in_place(ast.parse(program)))) == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_message_that_says_what_to_free_and_leaves_the_old_file(tmp_path, number):
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(OutputError) as error, replacing(path):
        raise OSError(number, os.strerror(number))
    assert str(error.value) == (
        f"The disk is full (or your quota is used up): {path} cannot be written.\n"
        f"Free some space on the disk of {tmp_path}, then run the command again; what is finished is kept."
    )
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("note.txt", "old")]


def test_what_a_killed_process_was_writing_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    with replacing(tmp_path / "note.txt") as ours:
        left = ours.with_name(ours.name.replace(f"-{os.getpid()}.", f"-{killed.pid}."))
        left.write_text("half")
        (tmp_path / ".users.part").write_text("a file of the user")
        remove_unfinished(tmp_path)
        assert ours.exists()
        assert not left.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".users.part", "note.txt"]


def test_a_name_that_is_not_utf_8_breaks_no_text_file(tmp_path):
    """Such as a file name from a Windows share in Latin-1."""
    write_text(tmp_path / "report.html", "Fl\udce4che.png")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == r"Fl\udce4che.png"
