"""OME-Zarr is read as the same image would be from a TIFF, whoever wrote it, and nothing in it is executed."""

import json
import pickle
import shutil
import sys

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from ptsam_auto.commands.options import SubsetOptions
from ptsam_auto.commands.subset import subset
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import read_image
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.raster import decode, pages_of_file, size_of_file
from ptsam_auto.errors import DatasetError, OutputError
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of
from ptsam_auto.terminal import Terminal
from tests.data.folders import save
from tests.toys import sample

STACK = np.arange(3 * 2 * 20 * 24, dtype=np.uint16).reshape(3, 2, 20, 24)  # Z C Y X


def about(axes, version="0.4", unit="micrometer", scale=0.5):
    """Metadata of an image with one level, of that version of OME-Zarr."""
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in named:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    steps = [scale if axis in "yx" else 1.0 for axis in axes]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": steps}]}
    image = {"axes": named, "datasets": [level]}
    if version == "0.5":
        return {"ome": {"version": version, "multiscales": [image]}}
    return {"multiscales": [{"version": version, **image}]}


def write(path, values, axes, version="0.4", **options):
    group = zarr.create_group(str(path), zarr_format=3 if version == "0.5" else 2)
    chunks = tuple(min(16, side) for side in values.shape)
    array = group.create_array("0", shape=values.shape, chunks=chunks, dtype=values.dtype, **options)
    array[...] = values
    group.attrs.update(about(axes, version))
    return path


def problem(path, page=None):
    with pytest.raises(DatasetError) as raised:
        decode(path, page)
    return raised.value.problems[0].what


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_planes_are_pages_and_channels_are_channels(tmp_path, version):
    path = write(tmp_path / "cells.ome.zarr", STACK, "zcyx", version)
    pages = pages_of_file(path)
    assert (pages.axes, pages.sizes) == ("Z", (3,))
    assert size_of_file(path) == (20, 24, 2)
    for page in range(3):
        assert np.array_equal(decode(path, page).values, np.moveaxis(STACK[page], 0, -1))
    assert pixel_size_of(path) == PixelSize(0.5, 0.5)


@pytest.mark.parametrize("options", [
    {"compressors": numcodecs.Zlib(3), "filters": [numcodecs.Delta("<u2")]},
    {"compressors": None, "filters": None},
])  # fmt: skip
def test_other_codecs_of_plain_numbers_are_read(tmp_path, options):
    path = write(tmp_path / "a.zarr", STACK[0, 0], "yx", **options)
    assert np.array_equal(decode(path).values[..., 0], STACK[0, 0])


def test_shards_of_version_05_are_read(tmp_path):
    path = write(tmp_path / "a.zarr", np.tile(STACK[0, 0], (2, 2)), "yx", "0.5", shards=(32, 32))
    assert np.array_equal(decode(path).values[..., 0], np.tile(STACK[0, 0], (2, 2)))


def test_a_folder_of_them_is_trained_on_and_predicted_on_as_files_are(tmp_path):
    for number in range(3):
        disc = sample(number)
        write(tmp_path / "data" / "images" / f"n{number}.ome.zarr", disc.image[..., 0], "yx")
        save(tmp_path / "data" / "masks" / f"n{number}.png", disc.mask.astype(np.uint8) * 255)
        tifffile.imwrite(tmp_path / f"n{number}.tif", disc.image[..., 0])
    pairs = read_folder(tmp_path / "data").pairs
    assert len(pairs) == 3
    for number, pair in enumerate(pairs):
        assert np.array_equal(pair.load().mask, sample(number).mask)
        assert np.array_equal(pair.load().image, read_image(tmp_path / f"n{number}.tif"))
    found = find_new_images([tmp_path / "data"])
    assert len(found.sources) == 3
    assert [one.what for one in found.left_out] == ["a folder of masks"]
    assert found.unreadable == ()
    (alone,) = find_new_images([tmp_path / "data" / "images" / "n1.ome.zarr"]).sources
    assert np.array_equal(alone.image.read(0), read_image(tmp_path / "n1.tif"))


def test_masks_in_ome_zarr_are_masks(tmp_path):
    disc = sample(0)
    save(tmp_path / "images" / "a.png", disc.image)
    write(tmp_path / "masks" / "a.zarr", disc.mask.astype(np.uint8), "yx")
    (pair,) = read_folder(tmp_path).pairs
    assert np.array_equal(pair.load().mask, disc.mask)


def test_a_part_of_a_folder_of_them_is_copied_with_all_that_is_in_them(tmp_path):
    for number in range(2):
        disc = sample(number)
        write(tmp_path / "data" / "images" / f"n{number}.zarr", disc.image[..., 0], "yx")
        write(tmp_path / "data" / "masks" / f"n{number}.zarr", disc.mask.astype(np.uint8), "yx")
    subset(SubsetOptions(tmp_path / "data", tmp_path / "part", first=1), Terminal.silent())
    (pair,) = read_folder(tmp_path / "part").pairs
    (whole, _) = read_folder(tmp_path / "data").pairs
    assert (pair.name, pair.digest) == (whole.name, whole.digest)


def test_a_part_of_a_folder_that_is_interrupted_has_no_half_image(tmp_path, monkeypatch):
    disc = sample(0)
    write(tmp_path / "data" / "images" / "n0.zarr", disc.image[..., 0], "yx")
    write(tmp_path / "data" / "masks" / "n0.zarr", disc.mask.astype(np.uint8), "yx")

    def full(source, target):
        target.mkdir()
        (target / ".zattrs").write_bytes((source / ".zattrs").read_bytes())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptsam_auto.data.subset.shutil.copytree", full)
    with pytest.raises(OutputError, match="The disk is full"):
        subset(SubsetOptions(tmp_path / "data", tmp_path / "part", first=1), Terminal.silent())
    assert not list((tmp_path / "part").rglob("*.zarr*"))


def test_the_only_image_of_bioformats2raw_is_read(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write(tmp_path / "a.zarr" / "0", STACK[0, 0], "yx")
    assert np.array_equal(decode(tmp_path / "a.zarr").values[..., 0], STACK[0, 0])


def test_what_is_no_single_image_is_said(tmp_path):
    zarr.create_group(str(tmp_path / "plate.zarr"), zarr_format=2).attrs["plate"] = {"wells": []}
    assert problem(tmp_path / "plate.zarr") == "an OME-Zarr plate; copy the images of its wells, each as NAME.zarr"
    zarr.create_group(str(tmp_path / "plain.zarr"), zarr_format=3)
    what = "holds no OME-Zarr image, or several; save each image as an OME-Zarr of its own"
    assert problem(tmp_path / "plain.zarr") == what
    write(tmp_path / "axes.zarr", STACK, "yx")
    assert problem(tmp_path / "axes.zarr") == "names 2 axes, but its array has 4"


def test_a_damaged_image_is_a_problem_and_no_traceback(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    damaged = "damaged, cut short or of an unusual kind; export it again as PNG or TIFF"
    assert problem(tmp_path / "empty.zarr") == damaged
    path = write(tmp_path / "a.zarr", STACK[0, 0], "yx")
    for chunk in (path / "0").glob("*.*"):
        if not chunk.name.startswith("."):
            chunk.write_bytes(b"x" * 40)
    assert problem(path) == damaged
    (path / ".zattrs").write_text("{")
    assert problem(path) == damaged


class Opens:
    """What a pickled chunk could do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("changes", [
    {"filters": [{"id": "pickle"}]},
    {"filters": [{"id": "delta", "dtype": "<u2"}, {"id": "pickle"}]},
    {"compressor": {"id": "pickle"}},
    {"dtype": "|O", "filters": [{"id": "pickle"}], "fill_value": None},
])  # fmt: skip
def test_a_chunk_that_would_be_unpickled_is_refused_and_nothing_is_executed(tmp_path, changes):
    path = write(tmp_path / "a.zarr", STACK[0, 0], "yx", compressors=None)
    description = path / "0" / ".zarray"
    description.write_text(json.dumps(json.loads(description.read_text()) | changes))
    for chunk in (path / "0").iterdir():
        if not chunk.name.startswith("."):
            chunk.write_bytes(pickle.dumps(Opens(tmp_path / "executed")))
    assert problem(path).startswith(("is stored by a codec that is not read here", "damaged"))
    assert not (tmp_path / "executed").exists()


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", STACK[0, 0], "yx")
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert problem(path).startswith("an OME-Zarr image, for which a package is missing. Install it: pip install")


def test_an_image_as_dataset_is_refused_by_what_it_is(tmp_path):
    path = write(tmp_path / "a.zarr", STACK[0, 0], "yx")
    with pytest.raises(DatasetError, match="an image; expected a folder of images"):
        read_folder(path)
    shutil.rmtree(path)
    with pytest.raises(DatasetError, match="no such folder"):
        read_folder(path)
