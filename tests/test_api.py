"""What somebody sees who imports ptsam_auto in a notebook."""

import inspect

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import ptsam_auto
from ptsam_auto.terminal import Terminal
from tests.toys import write_folder

QUICK = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 2}


def test_everything_public_is_listed_and_there():
    public = ["Specialist", "evaluate", "fit", "load_specialist", "predict_folder"]
    assert [name for name in dir(ptsam_auto) if name in ptsam_auto.__all__] == sorted([*public, "__version__"])
    assert all(inspect.getdoc(getattr(ptsam_auto, name)) for name in public)


def test_from_images_to_masks_and_scores(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    discs = write_folder(tmp_path / "discs", 4)
    made = ptsam_auto.fit(discs, backbone=toy, settings=QUICK, folds=2, track=False)
    assert capsys.readouterr() == ("", ""), "a script shows nothing unless it asks for it"
    assert made.report.exists()
    assert made.scores.dice == pytest.approx(made.scores.frame()["dice"].mean())
    assert list(made.scores.frame().index) == [image.name for image in made.scores.images]
    assert ptsam_auto.load_specialist("discs-specialist").report.name == "report.html"

    masks = ptsam_auto.predict_folder("discs-specialist", discs / "images", out="found", measure=True)
    assert sorted(path.stem for path in masks.glob("*.png")) == ["disc00", "disc01", "disc02", "disc03"]
    assert (masks / "objects.csv").exists()
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(np.asarray(Image.open(masks / "disc00.png")) > 0, made.predict(image))
    one = ptsam_auto.predict_folder("discs-specialist", [discs / "images" / "disc01.png"], out="one")
    assert [path.name for path in one.iterdir()] == ["disc01.png"]


@pytest.mark.parametrize(
    ("console", "seen"),
    [({"force_terminal": True}, True), ({"force_jupyter": True}, True), ({"force_terminal": False}, False)],
)
def test_progress_is_shown_where_somebody_looks(monkeypatch, console, seen):
    monkeypatch.setattr("ptsam_auto.terminal.Console", lambda **kwargs: Console(**{**kwargs, **console}))
    assert Terminal.where_seen().console.quiet is not seen
