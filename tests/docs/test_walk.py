"""What the pages promise, done: their commands, one after the other, in an empty folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pytest

from ptsam_auto.data.render import write_example
from ptsam_auto.specialist.artifact import load_specialist
from tests.docs.pages import ROOT, Call, calls

START, SEARCH = ROOT / "docs" / "start.md", ROOT / "docs" / "how-to" / "search.md"
# What makes them short: as few steps and views as there can be, and no look at the network.
SHORT = {
    "fit": ["--backbone", "nano", "--no-track", "--set", "recipe.epochs=1", "--set", "recipe.views=1"],
    "search": ["--no-track"],
}


def run(shown: Iterable[Call], folder):
    for call in shown:
        program = [sys.executable, "-c", "from ptsam_auto.cli import main; main()", call.name, *call.words]
        ran = subprocess.run(
            program + SHORT.get(call.name, []),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **call.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{call.name}: {ran.stderr}"
    return " ".join((ran.stdout + ran.stderr).split())


def test_the_readme_and_the_first_page_show_the_same_commands():
    above_the_fold, *use = calls(ROOT / "README.md")
    assert above_the_fold == Call({}, "fit", ["new_dataset/"])
    assert use == calls(START)


@pytest.mark.slow
def test_the_commands_of_the_first_page_work_in_their_order(tmp_path):
    write_example(tmp_path / "new_dataset", count=4)
    write_example(tmp_path / "other_annotated_images", count=1, seed=1)
    shutil.copytree(tmp_path / "other_annotated_images" / "images", tmp_path / "new_images")
    run(calls(START), tmp_path)
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    tables = ["images.csv", "images.parquet", "labels", "measurements.html", "objects.csv", "objects.parquet"]
    tables.append("ptsam-auto.json")
    assert written == ["example_00.png", *tables]
    assert [path.name for path in (tmp_path / "look").iterdir()] == ["example_00.png"]
    mask = load_specialist(tmp_path / "new_dataset-specialist").predict(np.zeros((64, 64, 3), np.uint8))
    assert (mask.shape, mask.dtype) == ((64, 64), bool)


@pytest.mark.slow
def test_the_loop_of_search_freeze_and_fit_works_as_it_is_shown(tmp_path):
    example, *loop = calls(SEARCH)[:4]
    assert [call.name for call in (example, *loop)] == ["example", "search", "freeze", "fit"]
    write_example(tmp_path / example.words[0], count=4)  # a few of the 24
    assert "The defaults were selected on 4 of these images (4 of example). Do not report this score." in run(
        loop, tmp_path
    )
