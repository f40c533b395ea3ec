"""A short part of the fault campaign: what is disturbed at an operation on files ends as if it had not been.

The long one is `python -m tests.faults`; its table stands in docs/results/faults.md.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.injector import compiler
from tests.faults.scenes import FIT, PREDICT
from tests.faults.small_disk import is_allowed, on_small_disk

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux") or compiler() is None, reason="needs Linux and a C compiler")
def test_what_was_killed_or_ran_out_of_disk_ends_with_the_same_result_when_it_runs_again():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "| `" in line]
    commands = {(fault, command) for fault, command, *_ in rows}
    assert {command for _, command in commands} == {"`fit`", "`predict`"}
    assert len({fault for fault, _ in commands}) == 4
    assert all(times == survived and lost == "0" for _, _, times, survived, lost in rows)


@pytest.mark.slow
@pytest.mark.skipif(not is_allowed(), reason="no mounts of our own here")
@pytest.mark.parametrize(("scene", "kilobytes"), [(FIT, 40), (PREDICT, 8)], ids=["fit", "predict"])
def test_a_disk_that_is_really_full_is_a_message_and_the_same_command_goes_on_when_there_is_room(scene, kilobytes):
    found = on_small_disk(scene, kilobytes)
    assert found.code == 1, found.said
    assert "Traceback" not in found.said
    assert "Free some space on the disk" in found.said
    assert (found.code_again, found.same) == (0, True), found.said_again
