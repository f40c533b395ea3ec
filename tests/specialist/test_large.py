"""A large image is predicted by rows: the same mask in bounded memory, and it goes on where it was interrupted."""

import struct
import zlib
from contextlib import suppress
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.data.new_images import source_of
from ptsam_auto.errors import OutputError
from ptsam_auto.png import read_texts, write_rows
from ptsam_auto.specialist import large, masks
from ptsam_auto.specialist.expected_table import read_rows
from ptsam_auto.specialist.masks import Destination, predict_source
from tests.data.test_ome_zarr import write as write_zarr
from tests.toys import write_folder

QUICK = {"recipe.epochs": 2, "recipe.steps_per_epoch": 5, "recipe.views": 2, "method.tiles": 2}
HEIGHT, WIDTH = 301, 220


@pytest.fixture(scope="module")
def specialist(tmp_path_factory, toy):
    folder = tmp_path_factory.mktemp("lab")
    fit(write_folder(folder / "discs", 4), out=folder / "made", backbone=toy, settings=QUICK, folds=2, track=False)
    return load_specialist(folder / "made")


@pytest.fixture
def every_image_is_large(monkeypatch):
    monkeypatch.setattr(large, "LARGE", 1)


def image():
    """Bright discs on noise, H W 3 uint8."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    for _ in range(30):
        centre = tuple(int(n) for n in rng.integers(0, (WIDTH, HEIGHT)))
        cv2.circle(picture, centre, int(rng.integers(6, 14)), (200, 210, 190), -1)
    return picture


def predicted(specialist, path, out, **options):
    out.mkdir(exist_ok=True)
    destination = Destination(out, probability=True, **options)
    result = predict_source(specialist, source_of(path, specialist.record.data.reading), destination)
    assert result.problem == ""
    mask = np.asarray(Image.open(out / f"{path.stem}.png"))
    return mask, tifffile.imread(out / "probability" / f"{path.stem}.tif"), result


@pytest.mark.parametrize("kind", ["tiles", "strips", "png", "16 bits", "OME-Zarr"])
def test_a_large_image_has_the_mask_that_it_would_have_as_a_whole(specialist, tmp_path, monkeypatch, kind):
    path = tmp_path / f"a{ {'png': '.png', 'OME-Zarr': '.zarr'}.get(kind, '.tif') }"
    match kind:
        case "tiles":
            tifffile.imwrite(path, image(), tile=(32, 48), compression="zlib", photometric="rgb")
        case "strips":
            tifffile.imwrite(path, image(), rowsperstrip=7, photometric="rgb")
        case "png":
            Image.fromarray(image()).save(path)
        case "OME-Zarr":
            write_zarr(path, np.moveaxis(image(), -1, 0), "cyx")
        case "16 bits":
            tifffile.imwrite(path, image().astype(np.uint16) * 13, tile=(32, 32), photometric="rgb")
    whole_mask, whole_map, _ = predicted(specialist, path, tmp_path / "whole")
    monkeypatch.setattr(large, "LARGE", HEIGHT * WIDTH)
    if kind != "png":
        monkeypatch.setattr("ptsam_auto.data.formats.sources.ImageFiles.read", None)  # It is never read whole.
    mask, probability, result = predicted(specialist, path, tmp_path / "by-rows")
    assert 0.02 < np.mean(mask > 0) < 0.98
    assert np.array_equal(mask, whole_mask)
    assert np.array_equal(probability, whole_map)
    assert (result.written, result.longest) == (1, HEIGHT)
    assert not list((tmp_path / "by-rows").glob(".*")), "nothing is left of the parts"
    assert predicted(specialist, path, tmp_path / "by-rows")[2].kept == 1


def test_a_slide_that_is_too_large_for_one_image_is_predicted(specialist, tmp_path, monkeypatch):
    path = tmp_path / "slide.svs"
    about = f"Aperio Image Library v12.0.15\r\n{WIDTH} x {HEIGHT} -> |AppMag = 20"
    tifffile.imwrite(path, image(), tile=(64, 64), description=about, photometric="rgb", metadata=None)
    expected = specialist.predict(path)
    monkeypatch.setattr(large, "LARGE", 1)
    monkeypatch.setattr("ptsam_auto.data.raster.MOST_PIXELS", 10_000)
    mask, _, _ = predicted(specialist, path, tmp_path / "out")
    assert np.array_equal(mask > 0, expected)


class Interrupted(Exception):
    pass


def stop(share):
    if share > 0.4:
        raise Interrupted


def test_an_interrupted_image_goes_on_where_it_was(specialist, tmp_path, every_image_is_large, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image(), tile=(32, 48), photometric="rgb")
    expected, _, _ = predicted(specialist, path, tmp_path / "expected")
    out, shares = tmp_path / "out", []
    out.mkdir()
    source, destination = source_of(path), Destination(out, probability=True)

    with pytest.raises(Interrupted):
        predict_source(specialist, source, destination, stop)
    assert not (out / "a.png").exists()
    predict_source(specialist, source, destination, shares.append)
    assert 0.4 < shares[0] < shares[1] < shares[-1] == 1
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), expected)


def test_the_uncertainty_of_a_large_image_is_that_of_the_whole(specialist, tmp_path, monkeypatch):
    unsure = load_specialist(specialist.folder, folds=True)
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 48), photometric="rgb")
    source, found = source_of(tmp_path / "a.tif"), []
    for name, least in (("whole", 10**9), ("rows", 1)):
        monkeypatch.setattr(large, "LARGE", least)
        out, maps = tmp_path / name / "out", tmp_path / name / "maps"
        for folder in (out, maps):
            folder.mkdir(parents=True)
        destination = Destination(out, uncertainty=maps, probability=True)
        with suppress(Interrupted):  # Only what is predicted by rows has a part to stop after.
            predict_source(unsure, source, destination, stop)
        assert predict_source(unsure, source, destination).problem == ""
        assert predict_source(unsure, source, destination).kept == 1
        found.append((np.asarray(Image.open(maps / "a.png")), read_rows(maps, ["a"], unsure.identity)[0]))
    (whole, row), (by_rows, row_by_rows) = found
    assert np.array_equal(whole, by_rows)
    assert whole.any()
    assert asdict(row_by_rows) == pytest.approx(asdict(row), abs=1e-5)


def test_flips_and_turns_of_a_large_image_are_those_of_the_whole(specialist, tmp_path, every_image_is_large):
    turned = load_specialist(specialist.folder, tta=True)
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 48), photometric="rgb")
    mask, probability, _ = predicted(turned, tmp_path / "a.tif", tmp_path / "out")
    assert np.array_equal(probability, turned.probability(image()))
    assert np.array_equal(mask > 0, turned.predict(image()))
    assert not np.allclose(probability, specialist.probability(image()), atol=1e-4)


def test_rows_of_another_image_are_not_continued(specialist, tmp_path, every_image_is_large):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, image(), tile=(32, 48), photometric="rgb")
    out.mkdir()

    with pytest.raises(Interrupted):
        predict_source(specialist, source_of(path), Destination(out), stop)
    tifffile.imwrite(path, 255 - image(), tile=(32, 48), photometric="rgb")
    shares = []
    predict_source(specialist, source_of(path), Destination(out), shares.append)
    assert shares[0] == 0
    assert np.array_equal(np.asarray(Image.open(out / "a.png")) > 0, specialist.predict(255 - image()))


def test_a_full_disk_is_said_of_the_mask_and_not_of_the_image(specialist, tmp_path, every_image_is_large, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 48), photometric="rgb")
    (tmp_path / "out").mkdir()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large.np, "savez_compressed", full)
    with pytest.raises(OutputError, match="The disk is full"):
        predict_source(specialist, source_of(tmp_path / "a.tif"), Destination(tmp_path / "out"))


@pytest.mark.parametrize("longest", [4096, 151])
def test_the_overlay_of_a_large_image_is_that_of_the_whole_or_smaller(specialist, tmp_path, monkeypatch, longest):
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 48), photometric="rgb")
    pictures = []
    for name, least in (("whole", 10**9), ("rows", 1)):
        monkeypatch.setattr(large, "LARGE", least)
        monkeypatch.setattr(large, "LONGEST_OVERLAY", longest)
        for folder in ("out", "look"):
            (tmp_path / name / folder).mkdir(parents=True)
        destination = Destination(tmp_path / name / "out", tmp_path / name / "look")
        assert predict_source(specialist, source_of(tmp_path / "a.tif"), destination).written == 1
        pictures.append(np.asarray(Image.open(tmp_path / name / "look" / "a.png")).astype(int))
        assert predict_source(specialist, source_of(tmp_path / "a.tif"), destination).kept == 1
    whole, by_rows = pictures
    if longest > HEIGHT:
        assert np.array_equal(whole, by_rows)
    else:
        assert by_rows.shape == (-(-HEIGHT // 2), WIDTH // 2, 3)
        half = np.asarray(Image.fromarray(whole.astype(np.uint8)).reduce(2)).astype(int)
        assert np.abs(half - by_rows).mean() < 4, "the same picture, but for the edges of the mask"


def test_a_png_by_rows_is_read_by_others_and_its_texts_are_found(tmp_path):
    rows = [np.full((n, 5), value, np.uint8) for n, value in ((2, 0), (1, 255), (3, 7))]
    write_rows(tmp_path / "a.png", 5, 6, rows, {"ptsam-auto specialist": "abc"})
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode == "L"
        assert np.array_equal(np.asarray(opened), np.concatenate(rows))
        assert opened.info["ptsam-auto specialist"] == "abc"
    assert read_texts(tmp_path / "a.png") == {"ptsam-auto specialist": "abc"}


def test_the_mask_of_a_slide_that_no_picture_library_opens_is_recognised_as_ours(tmp_path):
    path = tmp_path / "a.png"
    write_rows(path, 30_000, 1, [np.zeros((1, 30_000), np.uint8)], {"ptsam-auto specialist": "abc"})
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack(">I", 30_000)  # its height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert masks._read_metadata(path)[0] == "abc"


def test_a_large_image_of_several_classes_has_the_numbers_that_it_would_have_as_a_whole(tmp_path, toy, monkeypatch):
    folder = write_folder(tmp_path / "discs", 4)
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path)) // 255
        mask[:, 32:] *= 2  # The right half of a disc is another class.
        Image.fromarray(mask).save(path)
    made = fit(folder, out=tmp_path / "made", backbone=toy, settings=QUICK, folds=2, track=False, classes=True)
    tifffile.imwrite(tmp_path / "a.tif", image(), tile=(32, 48), photometric="rgb")
    whole = predicted(made, tmp_path / "a.tif", tmp_path / "whole")
    monkeypatch.setattr(large, "LARGE", 1)
    by_rows = predicted(made, tmp_path / "a.tif", tmp_path / "rows")
    assert whole[0].max() == 2
    assert np.array_equal(by_rows[0], whole[0])
    assert np.array_equal(by_rows[1], whole[1])
    assert by_rows[1].shape == (2, HEIGHT, WIDTH)
