"""What the pages promise, done: their commands, one after the other, in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
import tifffile

from ptsam_auto.data.images import read_image
from ptsam_auto.data.render import write_example
from ptsam_auto.onnx.runtime import OnnxSpecialist
from ptsam_auto.specialist.artifact import load_specialist
from tests.docs.pages import ROOT, Call, calls

START, SEARCH = ROOT / "docs" / "start.md", ROOT / "docs" / "how-to" / "search.md"
CLASSES = ROOT / "docs" / "how-to" / "classes.md"
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


@pytest.mark.slow
def test_three_classes_go_from_coco_to_labels_polygons_a_table_in_micrometres_and_onnx(tmp_path):
    example, *walk = calls(CLASSES)[-5:]
    assert example == Call({}, "example", ["cells/", "--classes"])
    write_example(tmp_path / "cells", count=2, classes=True)  # a few of the 24
    assert [call.name for call in walk] == ["check", "fit", "predict", "export"]
    run(walk, tmp_path)
    names = {"cell", "debris", "speck"}
    assert set(json.loads((tmp_path / "masks" / "classes.json").read_text())) == {"background", *names}
    labels = tifffile.imread(tmp_path / "masks" / "labels" / "example_00.tif")
    objects = pd.read_csv(tmp_path / "masks" / "objects.csv")
    own = objects[objects["image"] == "example_00"]
    assert labels.max() == len(own) > 0
    assert set(objects["class"]) <= names
    assert np.allclose(objects["area_um2"], objects["area_px"] * 0.65**2)
    places = json.loads((tmp_path / "masks" / "geojson" / "example_00.geojson").read_text())["features"]
    assert [place["properties"]["classification"]["name"] for place in places] == own["class"].tolist()
    exported = OnnxSpecialist(tmp_path / "onnx")
    assert set(exported.classes) == names
    assert np.unique(exported.predict(read_image(tmp_path / "cells" / "images" / "example_00.png"))).max() <= 3
