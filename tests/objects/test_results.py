"""What is written about the objects of a large image is what would be written if it were small."""

import csv
import json

import numpy as np
import pytest
import tifffile
import zarr
from pycocotools.coco import COCO
from shapely.geometry import shape

from ptsam_auto.data.new_images import source_of
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.objects import in_bands, results
from ptsam_auto.objects.pixel_size import PixelSize
from ptsam_auto.objects.results import ObjectResults
from ptsam_auto.objects.separation import ObjectSettings
from ptsam_auto.png import read_rows, size_of, write_rows
from tests.objects.test_in_bands import blobs, same_objects

HEIGHT, WIDTH = 620, 540
EXPORTS = ("geojson", "imagej", "coco", "ome-zarr")


@pytest.fixture
def large_images_have_a_pixel(monkeypatch):
    monkeypatch.setattr(results, "LARGE", 1)
    monkeypatch.setattr(in_bands, "AT_ONCE", 50 * WIDTH)


def written(folder, kind, classes=()):
    """Write the objects of one image whose mask is there; return what the command is told."""
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 60_000, (HEIGHT, WIDTH), np.uint16)
    path = folder / f"field.{'png' if kind == 'png' else 'tif'}"
    match kind:
        case "tiles":
            tifffile.imwrite(path, values, tile=(64, 64))
        case "two channels":
            tifffile.imwrite(path, np.stack([values, values // 2]), metadata={"axes": "CYX"})
        case "png":
            write_rows(path, WIDTH, HEIGHT, [(values >> 8).astype(np.uint8)], {})
    mask = blobs(0, (HEIGHT, WIDTH))
    if classes:
        mask += mask * blobs(1, (HEIGHT, WIDTH))
    out = folder / "masks"
    out.mkdir()
    palette = bytes(768) if classes else None
    write_rows(out / "field.png", WIDTH, HEIGHT, [mask if classes else mask * np.uint8(255)], {}, palette)
    made = ObjectResults(out, ObjectSettings(30, 20), True, EXPORTS, PixelSize(0.5, 0.5), "cells", classes)
    told = made.write([source_of(path, ImageReading())])
    assert told.problems == ()
    return told, out


def table(path):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return sorted(
        [(row["centroid_y_px"], row["centroid_x_px"], {**row, "object": ""}) for row in rows], key=lambda row: row[:2]
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools itself
@pytest.mark.parametrize(("kind", "classes"), [("tiles", ()), ("two channels", ("a", "b")), ("png", ())])
def test_a_large_image_has_the_objects_and_numbers_that_it_would_have_as_a_whole(tmp_path, request, kind, classes):
    expected, whole = written(tmp_path / "whole", kind, classes)
    request.getfixturevalue("large_images_have_a_pixel")
    told, out = written(tmp_path / "by_rows", kind, classes)
    assert (told.objects, told.images, told.unknown, told.cut) == (expected.objects, 1, 0, 0)

    labels = tifffile.imread(out / "labels" / "field.tif")
    assert same_objects(labels, tifffile.imread(whole / "labels" / "field.tif"))
    with tifffile.TiffFile(out / "labels" / "field.tif") as tiff:
        assert tiff.is_ome
        assert tiff.pages.first.is_tiled
    group = zarr.open_group(str(out / "ome-zarr" / "field.ome.zarr"), mode="r")
    assert np.array_equal(group["0"][:], labels)
    assert np.array_equal(group["1"][:], labels[::2, ::2])

    def near(ours, theirs):
        numbers = [name for name in ours if name not in ("image", "class", "touches_border", "object")]
        assert [float(ours[name]) for name in numbers] == pytest.approx([float(theirs[name]) for name in numbers])
        assert {k: v for k, v in ours.items() if k not in numbers} == {
            k: v for k, v in theirs.items() if k not in numbers
        }

    for (_, _, ours), (_, _, theirs) in zip(table(out / "objects.csv"), table(whole / "objects.csv"), strict=True):
        near(ours, theirs)
    (ours,), (theirs,) = (
        list(csv.DictReader((folder / "images.csv").read_text().splitlines())) for folder in (out, whole)
    )
    near(ours, theirs)

    features = json.loads((out / "geojson" / "field.geojson").read_text())["features"]
    for feature in features:
        number = int(feature["properties"]["name"])
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        rows, columns = np.nonzero(labels == number)
        assert polygon.bounds == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    coco = COCO(out / "coco.json")
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == told.objects == len(features)
    with_holes = [one for one in annotations if isinstance(one["segmentation"], dict)]
    assert with_holes
    for one in with_holes:
        drawn = coco.annToMask(one).astype(bool)
        (number,) = set(labels[drawn]) - {0}
        assert np.array_equal(drawn, labels == number)
    assert (out / "imagej" / "field.zip").stat().st_size > 1000


def test_a_damaged_mask_is_named_and_costs_no_other_result(tmp_path, large_images_have_a_pixel):
    _, out = written(tmp_path / "lab", "tiles")
    mask = out / "field.png"
    mask.write_bytes(mask.read_bytes()[:-200])
    before = (out / "labels" / "field.tif").read_bytes()
    source = source_of(tmp_path / "lab" / "field.tif", ImageReading())
    (problem,) = ObjectResults(out, ObjectSettings(30, 20), True, EXPORTS).write([source]).problems
    assert problem.where.endswith("field.tif")
    assert "damaged" in problem.what
    assert (out / "labels" / "field.tif").read_bytes() == before
    assert sorted(path.name for path in (out / "ome-zarr").iterdir()) == ["field.ome.zarr"]


def test_a_large_image_says_how_much_of_it_is_done(tmp_path, large_images_have_a_pixel):
    _, out = written(tmp_path / "lab", "tiles")
    said = []
    source = source_of(tmp_path / "lab" / "field.tif", ImageReading())
    ObjectResults(out, ObjectSettings(30, 20)).write([source], lambda *parts: said.append(parts))
    shares = [float(note.removeprefix("field: ").removesuffix(" %")) for done, _, note in said if not done]
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert (shares[-1], said[-1]) == (100, (1, 1, ""))


def test_rows_of_a_mask_are_those_that_were_written(tmp_path):
    mask = blobs(3, (333, 77)) * np.uint8(255)
    write_rows(tmp_path / "a.png", 77, 333, np.array_split(mask, 5), {"key": "value"})
    assert size_of(tmp_path / "a.png") == (333, 77)
    for at_once in (1, 10, 400):
        bands = list(read_rows(tmp_path / "a.png", at_once))
        assert np.array_equal(np.concatenate(bands), mask)
        assert {len(band) for band in bands[:-1]} <= {at_once}
