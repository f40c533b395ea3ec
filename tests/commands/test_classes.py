"""From a folder with several classes to masks, objects and files of other programs."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from ptsam_auto import evaluate, fit, load_specialist, predict_folder
from ptsam_auto.commands.annotate import annotate
from ptsam_auto.commands.export import export
from ptsam_auto.commands.options import AnnotateOptions, ExportOptions
from ptsam_auto.errors import ConfigError, OutputError, SpecialistError
from ptsam_auto.onnx.runtime import OnnxSpecialist
from ptsam_auto.terminal import Terminal
from ptsam_auto.web.pairs_folder import PairsFolder
from tests.toys import PROMPTS, scene, write_scenes

QUICK = {"recipe.epochs": 3, "recipe.steps_per_epoch": 2, "recipe.views": 2}
NAMES = ("disc", "bar")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return write_scenes(tmp_path / "scenes")


def quick(folder, toy, **rest):
    return fit(folder, **{"backbone": toy, "settings": QUICK, "folds": 2, "track": False, **rest})


def test_three_numbers_a_pixel_become_masks_objects_and_files_of_other_programs(folder, toy, tmp_path):
    made = quick(folder, toy, test=None)
    assert made.classes == NAMES
    assert made.record.cost.trainable == 2 * 256 * PROMPTS, "each class has its own prompts"
    assert len(made.record.scores.crossfit.of_classes) == 2
    assert all(len(image.dice_of_classes) == 2 for image in made.record.scores.crossfit.images)
    report = (tmp_path / "scenes-specialist" / "report.html").read_text()
    assert all(name in report for name in NAMES)
    again = load_specialist(tmp_path / "scenes-specialist", folds=True)
    image, _ = scene(9)
    probability = again.probability(image)
    assert (probability.shape, probability.dtype) == ((2, 48, 64), np.float32)
    assert probability.sum(axis=0).max() <= 1 + 1e-5
    assert np.array_equal(again.predict(image), made.predict(image))
    assert again.predict(image).dtype == np.uint8

    out = tmp_path / "masks"
    options = {"out": out, "measure": True, "export": ["geojson", "coco", "imagej"], "probability": True}
    predict_folder("scenes-specialist", folder / "images", pixel_size="0.5", uncertainty=tmp_path / "unsure", **options)
    mask = np.asarray(Image.open(out / "scene0.png"))
    assert np.array_equal(mask, made.predict(folder / "images" / "scene0.png"))
    assert json.loads((out / "classes.json").read_text()) == {"background": 0, "disc": 1, "bar": 2}
    assert tifffile.imread(out / "probability" / "scene0.tif").shape == (2, 48, 64)
    assert np.asarray(Image.open(tmp_path / "unsure" / "scene0.png")).shape == (48, 64)
    objects = pd.read_csv(out / "objects.csv")
    assert set(objects["class"]) <= set(NAMES)
    coco = json.loads((out / "coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(NAMES)
    assert {annotation["category_id"] for annotation in coco["annotations"]} <= {1, 2}
    assert len(coco["annotations"]) == len(objects)
    places = json.loads((out / "geojson" / "scene0.geojson").read_text())["features"]
    assert {place["properties"]["classification"]["name"] for place in places} <= set(NAMES)

    scores = evaluate("scenes-specialist", folder)
    assert len(scores.of_classes) == 2
    options = AnnotateOptions(tmp_path / "unpainted", specialist=tmp_path / "scenes-specialist", port=0)
    (tmp_path / "unpainted").mkdir()
    shutil.copy(folder / "images" / "scene0.png", tmp_path / "unpainted")
    with pytest.raises(
        SpecialistError, match=r"finds several classes \(disc, bar\), but masks of one class are painted"
    ):
        annotate(options, Terminal.silent())
    with pytest.raises(OutputError, match="has several classes"):
        PairsFolder(folder)


def test_the_numbers_of_other_classes_are_not_mixed_into_a_folder(folder, toy, tmp_path):
    quick(folder, toy)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "classes.json").write_text('{"background": 0, "cell": 1}')
    with pytest.raises(OutputError, match="names other classes"):
        predict_folder("scenes-specialist", folder / "images", out=tmp_path / "masks")


def test_a_method_that_finds_one_class_is_refused_before_any_training(folder, toy):
    with pytest.raises(ConfigError, match="samed finds one class"):
        quick(folder, toy, method="samed", settings={**QUICK, "recipe.views": 0})


def test_one_class_of_several_is_a_usual_specialist(folder, toy):
    made = quick(folder, toy, categories=("bar",))
    assert made.classes == ()
    assert made.predict(scene(9)[0]).dtype == bool


@pytest.mark.slow
def test_deep_prompts_are_common_to_all_classes(folder, toy):
    made = quick(folder, toy, adapt="encoder", settings={**QUICK, "recipe.views": 0, "method.encoder_prompts": 2})
    prompts = made.model.models[0]
    assert (prompts.encoder_prompts.dim(), len(prompts.decoder_prompts)) == (3, 2)


@pytest.mark.slow
def test_the_export_finds_the_same_classes_without_pytorch(folder, toy, tmp_path):
    made = quick(folder, toy, settings={**QUICK, "method.tiles": 2})
    compared = export(ExportOptions(tmp_path / "scenes-specialist", tmp_path / "onnx"), Terminal.silent())
    exported = OnnxSpecialist(tmp_path / "onnx")
    assert exported.classes == tuple(NAMES)
    image, _ = scene(9)
    np.testing.assert_allclose(exported.probability(image), made.probability(image), atol=1e-4)
    assert np.mean(exported.predict(image) == made.predict(image)) > 0.999
    assert compared is not None
