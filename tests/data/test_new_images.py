"""What predict finds in files and folders, and that it names all that it leaves out."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.errors import DatasetError
from tests.data.folders import picture, save
from tests.data.test_names import ours


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("new").mkdir()
    return Path("new")


def names(folder, **how):
    return [name for source in find_new_images([folder], **how).sources for name in source.names]


def left_out(folder, **how):
    found = find_new_images([folder], **how)
    return {problem.where: problem.what for problem in (*found.left_out, *found.unreadable)}


def message(*inputs, **how):
    with pytest.raises(DatasetError) as raised:
        find_new_images(inputs, **how)
    return [f"{problem.where}: {problem.what}" for problem in raised.value.problems]


def test_every_format_that_is_read_singly_is_read_in_a_folder(folder):
    for seed, ending in enumerate(("png", "jpg", "bmp", "tif", "webp", "gif", "jp2")):
        save(folder / f"i{seed}.{ending}", picture(seed, 32, 32))
    assert names(folder) == [f"i{seed}" for seed in range(7)]


def test_what_cannot_be_read_is_named_and_the_rest_predicted(folder):
    save(folder / "a.png", picture())
    (folder / "b.png").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    tifffile.imwrite(folder / "c.tif", np.ones((9, 9), np.complex64))
    assert names(folder) == ["a"]
    found = left_out(folder)
    assert found["new/b.png"] == "an empty file (0 bytes); copy it again from its source"
    assert found["new/notes.txt"] == "not a format that is read; expected png, jpg, bmp, tif, webp, gif or jp2"
    assert found["new/c.tif"] == "holds complex numbers; save their magnitude or their phase instead"


def test_pipes_and_devices_among_images_are_named_and_not_waited_for(folder):
    """Whoever opens a pipe to read waits until somebody writes into it."""
    save(folder / "a.png", picture())
    os.mkfifo(folder / "b.png")
    (folder / "c.png").symlink_to("/dev/zero")
    (folder / "d.png").symlink_to("d.png")
    assert names(folder) == ["a"]
    found = left_out(folder)
    for name in ("b.png", "c.png"):
        assert found[f"new/{name}"] == "a pipe, a socket or a device; expected a file"
    assert "new/d.png" in found
    assert message(folder / "b.png") == ["new/b.png: no such file or folder"]


def test_subfolders_are_said_and_read_on_request(folder):
    save(folder / "a.png", picture())
    save(folder / "plate2/a.png", picture(1))
    save(folder / "masks/a.png", picture(2))
    assert names(folder) == ["a"]
    assert left_out(folder) == {
        "new/plate2/": "a subfolder with 1 image; to predict on it, add --recursive",
        "new/masks/": "a folder of masks",
    }
    assert names(folder, recursive=True) == ["a", "plate2_a"]


def test_images_in_subfolders_alone_come_with_a_hint(folder):
    save(folder / "plate1/a.png", picture())
    assert message(folder) == ["new: no images here, but in subfolders such as new/plate1/; add --recursive"]


def test_masks_and_what_cellpose_writes_are_no_images(folder):
    for name in ("000_img", "000_masks", "000_img_flows"):
        save(folder / f"{name}.png", picture())
    (folder / "000_seg.npy").write_bytes(b"\x93NUMPY")
    assert names(folder) == ["000_img"]
    assert set(left_out(folder)) == {"new/000_masks.png", "new/000_img_flows.png", "new/000_seg.npy"}


def test_our_own_masks_are_no_images(folder):
    save(folder / "a.png", picture())
    ours(folder / "a2.png", np.eye(9) > 0)
    assert names(folder) == ["a"]
    assert left_out(folder) == {"new/a2.png": "a mask that ptsam-auto predicted"}


def channels(folder, cases="ab", count=2):
    for seed, case in enumerate(cases):
        for channel in range(count):
            save(folder / f"{case}_{channel:04d}.png", picture(10 * seed + channel)[..., 0])


def test_nnunets_channels_are_one_image(folder):
    channels(folder / "imagesTs")
    (folder / "imagesTr").mkdir()
    assert names(folder / "imagesTs") == ["a", "b"]
    found = find_new_images([folder])
    assert found.notes == ("new holds imagesTs/, which is predicted on.",)
    image = found.sources[1].image.read(0)
    assert np.array_equal(image[..., 1], picture(11)[..., 0])


def test_a_specialist_for_two_files_an_image_joins_them_in_any_folder(folder):
    channels(folder)
    two = ImageReading(files=2, stored=2)
    assert names(folder, reading=two) == ["a", "b"]
    assert [s.names for s in find_new_images([folder / "a_0001.png"], two).sources] == [("a",)]
    (folder / "b_0001.png").unlink()
    assert left_out(folder, reading=two) == {"new/b_0000.png": "has 1 of the 2 channels of an image"}


def test_frames_numbered_like_channels_stay_images(folder):
    channels(folder, "a", 5)
    assert names(folder) == [f"a_{frame:04d}" for frame in range(5)]


def test_two_results_of_one_name_are_refused_before_anything_is_computed(folder):
    save(folder / "x_p000.png", picture())
    tifffile.imwrite(folder / "x.tif", np.zeros((6, 12, 16), np.uint8))
    save(Path("other/a.png"), picture())
    save(folder / "a.png", picture())
    assert message(folder, Path("other")) == [
        "new/x_p000.png: would overwrite the mask of new/x.tif: both are x_p000; rename one",
        "other/a.png: would overwrite the mask of new/a.png: both are a; rename one",
    ]


def test_an_input_named_twice_is_one_input(folder):
    save(folder / "a.png", picture())
    assert len(find_new_images([folder / "a.png", folder / "a.png"]).sources) == 1


def test_no_images_at_all(folder):
    assert message(folder) == ["new: no images; expected .png, .jpg, .jpeg, .bmp, .tif, .tiff, .webp, .gif, .jp2 files"]
    assert message(Path("gone")) == ["gone: no such file or folder"]


def test_a_project_stands_for_its_images(folder):
    save(folder / "images/a.png", picture())
    save(folder / "masks/a.png", picture())
    found = find_new_images([folder])
    assert [source.names for source in found.sources] == [("a",)]
    assert found.notes == ("new holds images/, which is predicted on.",)
    assert [(p.where, p.what) for p in found.left_out] == [("new/masks/", "a folder of masks")]


def test_files_of_microscopes_are_called_by_their_name(folder):
    save(folder / "a.png", picture())
    for name in ("b.oir", "c.ims", "d.nrrd"):
        (folder / name).write_bytes(b"x" * 200)
    assert left_out(folder) == {
        "new/b.oir": "an Olympus file, which is not read; export it as TIFF in cellSens or Fiji",
        "new/c.ims": "an Imaris file, which is not read; export it as TIFF in Imaris or Fiji",
        "new/d.nrrd": "an NRRD volume, which is not read; save its slices as a TIFF stack in Fiji",
    }
