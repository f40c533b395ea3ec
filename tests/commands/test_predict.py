"""From a folder of images to masks, objects, numbers and files for other programs."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import roifile
import tifffile
import zarr
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.options import PredictOptions
from ptsam_auto.commands.predict import predict
from ptsam_auto.errors import ConfigError, DatasetError, OutputError, SpecialistError
from ptsam_auto.objects.kinds import EXPORTS
from ptsam_auto.specialist.masks import Destination
from ptsam_auto.specialist.masks import predict_source as original
from ptsam_auto.terminal import Terminal
from tests.toys import sample, write_folder

QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 5, "recipe.views": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory, toy):
    """A specialist on four discs."""
    folder = tmp_path_factory.mktemp("lab")
    fit(write_folder(folder / "discs", 4), out=folder / "made", backbone=toy, settings=QUICK, folds=2, track=False)
    return folder / "made"


@pytest.fixture
def two_discs(monkeypatch):
    """The masks are two discs that touch, whatever the specialist finds."""

    def drawn(specialist, source, destination: Destination, progress):
        result = original(specialist, source, destination, progress)
        for name in source.names:
            with Image.open(destination.masks / f"{name}.png") as mask:
                rows, columns = np.mgrid[: mask.height, : mask.width]
            discs = ((rows - 24) ** 2 + (columns - 18) ** 2 < 100) | ((rows - 24) ** 2 + (columns - 36) ** 2 < 100)
            Image.fromarray(discs.astype(np.uint8) * 255).save(destination.masks / f"{name}.png")
        return result

    monkeypatch.setattr("ptsam_auto.commands.predict.predict_source", drawn)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_objects_are_counted_measured_and_exported(made, two_discs, tmp_path, capsys):
    stack = np.stack([sample(i).image[..., 0] for i in range(3)])
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "stack.tif", stack, ome=True, metadata=metadata)
    Image.fromarray(sample(5).image).save(tmp_path / "flat.png")
    out = tmp_path / "out"
    options = PredictOptions(made, [tmp_path], out=out, measure=True, export=[*EXPORTS], smallest=5, largest_hole=0)
    predict(options, Terminal())
    labels = tifffile.imread(out / "labels" / "stack.tif")
    assert labels.shape == stack.shape, "a stack in is a stack out"
    assert [page.max() for page in labels] == [2, 2, 2]
    assert tifffile.imread(out / "labels" / "flat.tif").max() == 2
    objects, images = rows_of(out / "objects.csv"), rows_of(out / "images.csv")
    assert (len(objects), len(images)) == (8, 4)
    by_image = {row["image"]: row for row in images}
    assert by_image["stack_p002"]["objects"] == "2"
    assert by_image["stack_p002"]["pixel_width_um"] == "0.5"
    assert by_image["flat"]["pixel_width_um"] == "", "a PNG does not state it"
    assert float(objects[-1]["area_um2"]) == pytest.approx(float(objects[-1]["area_px"]) / 4)
    assert pyarrow.parquet.read_table(out / "objects.parquet").num_rows == 8
    features = json.loads((out / "geojson" / "stack_p001.geojson").read_text())["features"]
    assert [feature["properties"]["measurements"]["mean_channel_1"] > 0 for feature in features] == [True, True]
    assert len(roifile.roiread(out / "imagej" / "stack.zip")) == 6
    assert np.array_equal(zarr.open_group(str(out / "ome-zarr" / "stack.ome.zarr"), mode="r")["0"][:], labels)
    coco = json.loads((out / "coco.json").read_text())
    assert (len(coco["images"]), len(coco["annotations"])) == (4, 8)
    page = (out / "measurements.html").read_text()
    assert "8 objects in 4 images" in page
    assert "at least one image does not state the size of a pixel" in page
    printed = capsys.readouterr().err
    assert "8 objects in 4 images" in printed
    assert "smaller than 5 px removed" in printed
    assert "1 images do not state the size of a pixel; give it with --pixel-size." in printed

    again = PredictOptions(
        made, [tmp_path / "flat.png"], out=out, measure=True, export=["ome-zarr"], pixel_size="2um", force=True
    )
    predict(again, Terminal.silent())
    assert not list(out.rglob(".*.part")), "nothing is left over"
    assert float(rows_of(out / "objects.csv")[0]["area_um2"]) == 4 * float(rows_of(out / "objects.csv")[0]["area_px"])


def test_the_smallest_object_is_that_of_the_training_unless_it_is_given(made, tmp_path):
    record = json.loads((made / "specialist.json").read_text())
    assert record["objects"]["smallest"] > 20, "half of a small disc"


def test_an_unreadable_image_does_not_cost_the_results_of_the_others(made, tmp_path):
    Image.fromarray(sample(5).image).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DatasetError, match=r"bad\.png"):
        predict(PredictOptions(made, [tmp_path], out=tmp_path / "out", measure=True), Terminal.silent())
    assert [row["image"] for row in rows_of(tmp_path / "out" / "images.csv")] == ["good"]


def test_no_result_replaces_an_image(made, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    tifffile.imwrite(labels / "a.tif", sample(5).image)
    before = (labels / "a.tif").read_bytes()
    with pytest.raises(OutputError, match="is an image to predict on"):
        predict(PredictOptions(made, [labels], out=tmp_path, instances=True, force=True), Terminal.silent())
    assert (labels / "a.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export": ["qupath"]}, "--export is qupath; expected one of geojson, imagej, coco, ome-zarr"),
        ({"smallest": 3}, "--smallest has no effect without objects"),
        ({"pixel_size": "1um"}, "--pixel-size has no effect without objects"),
        ({"tta": True, "uncertainty": Path("u")}, "--tta and --uncertainty exclude each other"),
        ({"device": "gpu"}, "--device is gpu; expected cpu, cuda"),
        ({"threshold": 1.0}, "--threshold is 1; expected a number above 0 and below 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        PredictOptions(tmp_path, [tmp_path], **options)


def test_a_pixel_size_that_is_none_is_refused_before_anything_is_predicted(made, tmp_path):
    Image.fromarray(sample(5).image).save(tmp_path / "a.png")
    options = PredictOptions(made, [tmp_path], out=tmp_path / "out", measure=True, pixel_size="wide")
    with pytest.raises(ConfigError, match="expected a size such as"):
        predict(options, Terminal.silent())
    assert not (tmp_path / "out").exists()


def test_flips_of_a_network_that_is_not_sam_are_refused(made, monkeypatch):
    monkeypatch.setattr("ptsam_auto.specialist.artifact._rebuilt", lambda *_: object())
    with pytest.raises(SpecialistError, match=r"is not based on SAM.*Remove --tta"):
        load_specialist(made, tta=True)


def test_tta_gives_the_mean_of_all_turns(made, tmp_path):
    image = sample(5).image
    plain, averaged = load_specialist(made), load_specialist(made, tta=True)
    assert not np.allclose(averaged.probability(image), plain.probability(image), atol=1e-4)
    turned = np.ascontiguousarray(image[::-1].swapaxes(0, 1))
    np.testing.assert_allclose(
        averaged.probability(turned), averaged.probability(image)[::-1].swapaxes(0, 1), atol=1e-4
    )
    Image.fromarray(image).save(tmp_path / "a.png")
    predict(PredictOptions(made, [tmp_path / "a.png"], out=tmp_path / "out", tta=True), Terminal.silent())
    assert (np.asarray(Image.open(tmp_path / "out" / "a.png")) > 0).tolist() == averaged.predict(image).tolist()
