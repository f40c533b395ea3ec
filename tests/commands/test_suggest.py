"""`suggest` and `predict --uncertainty`: what a specialist says about images that nobody has annotated."""

import csv

import numpy as np
import pytest
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.options import PredictOptions, SuggestOptions
from ptsam_auto.commands.predict import predict
from ptsam_auto.commands.suggest import suggest
from ptsam_auto.errors import DatasetError, OutputError, SpecialistError
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.specialist.artifact import FOLDS_FILE
from ptsam_auto.specialist.uncertainty import assess
from ptsam_auto.terminal import Terminal
from tests.toys import sample, toy_checkpoint, write_folder

QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 5, "recipe.views": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A specialist on six discs, and four images that it has not seen, beside one that it has."""
    folder = tmp_path_factory.mktemp("lab")
    dataset = write_folder(folder / "discs", 6)
    fit(dataset, out=folder / "made", backbone=str(toy_checkpoint(folder / "toy.safetensors")), settings=QUICK,
        folds=2, track=False)  # fmt: skip
    (folder / "new").mkdir()
    for i in (0, 20, 21, 22, 23):
        Image.fromarray(sample(i).image).save(folder / "new" / f"new{i}.png")
    return folder


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_an_image_gets_a_mask_a_map_and_an_expected_dice(folder, tmp_path):
    unsure = tmp_path / "unsure"
    predict(
        PredictOptions(folder / "made", [folder / "new"], tmp_path / "masks", uncertainty=unsure), Terminal.silent()
    )
    specialist = load_specialist(folder / "made", folds=True)
    image = sample(20).image
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "new20.png")) > 0, specialist.predict(image))
    expected = assess(specialist, image)
    shown = np.asarray(Image.open(unsure / "new20.png"))
    assert np.abs(shown / 255 * 0.5 - expected.uncertainty).max() < 0.002
    rows = rows_of(unsure / "expected_dice.csv")
    assert [row["image"] for row in rows] == ["new0", "new20", "new21", "new22", "new23"]
    assert float(rows[1]["expected_dice"]) == pytest.approx(expected.expected_dice, abs=1e-4)
    assert 0 <= expected.expected_dice <= 1


def test_a_prediction_that_was_interrupted_has_a_complete_table_in_the_end(folder, tmp_path):
    options = PredictOptions(folder / "made", [folder / "new"], tmp_path / "masks", uncertainty=tmp_path / "unsure")
    predict(options, Terminal.silent())
    whole = (tmp_path / "unsure" / "expected_dice.csv").read_text()
    (tmp_path / "unsure" / "new21.png").unlink()
    (tmp_path / "unsure" / "expected_dice.csv").unlink()
    predict(options, Terminal.silent())
    assert (tmp_path / "unsure" / "expected_dice.csv").read_text() == whole


def test_the_images_with_the_lowest_expected_dice_are_named(folder, tmp_path, capsys):
    unsure = tmp_path / "unsure"
    predict(PredictOptions(folder / "made", [folder / "new"], tmp_path / "masks", uncertainty=unsure), Terminal())
    rows = sorted(rows_of(unsure / "expected_dice.csv"), key=lambda row: (float(row["expected_dice"]), row["image"]))
    said = " ".join(capsys.readouterr().err.split())
    first, percent = rows[0]["image"], round(100 * float(rows[0]["expected_dice"]))
    assert f"Lowest expected Dice: {first} {percent}" in said


def test_masks_from_before_get_their_maps(folder, tmp_path):
    """Without it, a folder that was predicted already would have no maps, and say that all is done."""
    masks, unsure = tmp_path / "masks", tmp_path / "unsure"
    predict(PredictOptions(folder / "made", [folder / "new"], masks), Terminal.silent())
    predict(PredictOptions(folder / "made", [folder / "new"], masks, uncertainty=unsure), Terminal.silent())
    assert {path.name for path in unsure.glob("*.png")} == {path.name for path in masks.glob("*.png")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own warnings
def test_two_workers_write_the_table_of_one(ray, folder, tmp_path):
    for workers in (1, 2):
        out, unsure = tmp_path / f"masks{workers}", tmp_path / f"unsure{workers}"
        options = PredictOptions(folder / "made", [folder / "new"], out, uncertainty=unsure, workers=workers)
        predict(options, Terminal.silent())
    tables = [(tmp_path / f"unsure{workers}" / "expected_dice.csv").read_text() for workers in (1, 2)]
    assert tables[0] == tables[1]


def test_maps_do_not_overwrite_masks(folder, tmp_path):
    options = PredictOptions(folder / "made", [folder / "new"], tmp_path / "out", uncertainty=tmp_path / "out")
    with pytest.raises(OutputError, match="the folder of two kinds of results"):
        predict(options, Terminal.silent())


def test_an_image_that_was_exchanged_and_refused_does_not_keep_the_expected_dice_of_the_old_one(folder, tmp_path):
    for i in (20, 21):
        Image.fromarray(sample(i).image).save(tmp_path / f"new{i}.png")
    files = [tmp_path / f"new{i}.png" for i in (20, 21)]
    options = PredictOptions(folder / "made", files, out=tmp_path / "masks", uncertainty=tmp_path / "maps")
    predict(options, Terminal.silent())
    Image.fromarray(sample(40).image).save(files[0])
    with pytest.raises(DatasetError, match="was made from another image of this name"):
        predict(options, Terminal.silent())
    assert [row["image"] for row in rows_of(tmp_path / "maps" / "expected_dice.csv")] == ["new21"]


def test_a_tile_is_encoded_once_for_the_specialist_and_all_folds(folder, monkeypatch):
    specialist = load_specialist(folder / "made", folds=True)
    calls = []
    encode = PromptFreeSam.encode
    monkeypatch.setattr(PromptFreeSam, "encode", lambda self, images: calls.append(1) or encode(self, images))
    specialist.predict(sample(20).image)
    alone = len(calls)
    assess(specialist, sample(20).image)
    assert len(calls) == 2 * alone


def test_suggested_images_were_not_annotated_and_come_with_their_reasons(folder, tmp_path):
    out = tmp_path / "next"
    made = suggest(SuggestOptions(folder / "made", [folder / "new"], count=3, out=out), Terminal.silent())
    assert len(made) == 3
    assert {one.name for one in made} <= {"new20", "new21", "new22", "new23"}, "new0 is a training image"
    assert all(one.nearest.startswith("disc") for one in made)
    rows = rows_of(out / "suggested.csv")
    assert [row["image"] for row in rows] == [one.name for one in made]
    page = (out / "suggested.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 9
    assert "http" not in page.replace("data:image", "")


def test_nearly_the_same_image_as_an_annotated_one_is_not_suggested(folder, tmp_path):
    """A brighter JPEG of a training image would otherwise be annotated a second time."""
    new = tmp_path / "new"
    new.mkdir()
    brighter = np.clip(sample(0).image * 1.1, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(new / "again.jpg", quality=80)
    Image.fromarray(sample(20).image).save(new / "other.png")
    made = suggest(SuggestOptions(folder / "made", [new]), Terminal.silent())
    assert [one.name for one in made] == ["other"]


def test_unreadable_images_are_reported_after_the_others_are_ranked(folder, tmp_path, capsys):
    (folder / "new" / "broken.png").write_bytes(b"no image")
    try:
        with pytest.raises(DatasetError) as error:
            suggest(SuggestOptions(folder / "made", [folder / "new"]), Terminal())
    finally:
        (folder / "new" / "broken.png").unlink()
    assert "broken.png" in str(error.value)
    assert "new21" in capsys.readouterr().out


def test_annotated_images_alone_leave_nothing_to_suggest(folder):
    with pytest.raises(DatasetError, match="all images here were annotated for this specialist"):
        suggest(SuggestOptions(folder / "made", [folder / "discs" / "images"]), Terminal.silent())


def test_a_specialist_without_folds_is_refused_with_what_to_do(folder, tmp_path):
    kept = (folder / "made" / FOLDS_FILE).read_bytes()
    (folder / "made" / FOLDS_FILE).unlink()
    try:
        with pytest.raises(SpecialistError, match="It is saved by fit if the specialist is cross-fitted"):
            suggest(SuggestOptions(folder / "made", [folder / "new"]), Terminal.silent())
    finally:
        (folder / "made" / FOLDS_FILE).write_bytes(kept)
