import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError, Problem
from tests.data.folders import cut, marking, pairs_folder, picture, save

LAYOUTS = """\
Arrange them in one of these ways, then run the command again:
  pairs         images/NAME.png and masks/NAME.png (also jpg, bmp, tif)
  nnunet        dataset.json, imagesTr/NAME_0000.png and labelsTr/NAME.png (or bmp, tif, nii.gz)
  coco          a COCO file (here or in annotations/) and its images (here or in images/)
  labelme       NAME.json of labelme beside NAME.png
  cvat          annotations.xml (CVAT for images 1.1) and its images (here or in images/)
  via           a VIA 2 project, JSON or CSV and its images (here or in images/)
  yolo          images/NAME.png and labels/NAME.txt of YOLO's segmentation (also in train/ and val/)
  geojson       NAME.geojson of QuPath beside NAME.png or NAME.tif
  imagej        NAME.zip or NAME.roi of ImageJ's ROI Manager beside NAME.tif (also NAME_RoiSet.zip)
  label-studio  the JSON export of Label Studio and its images (here or in images/)
  other         files of further tools are recognised, and the export to choose is named
  parts         train/ and val/ or test/, each as in pairs, classes or cellpose; val/ and test/ are measured on
  classes       images/NAME.png and masks/CLASS/NAME.png, a folder of masks for each class
  cellpose      NAME.png and NAME_masks.png beside each other (also jpg, bmp, tif)
  objects       NAME/images/NAME.png and NAME/masks/*.png, one mask file for each object"""
ADVICE = "Fix or remove these files, then run the command again."
REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sound folder, named as a user in its parent names it."""
    monkeypatch.chdir(tmp_path)
    return pairs_folder(Path("new_dataset"))


def message(folder, *options):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder, *options)
    return str(raised.value)


def test_a_sound_folder(folder):
    steps = []
    dataset = read_folder(folder, progress=lambda done, total: steps.append((done, total)))
    assert [pair.name for pair in dataset.pairs] == ["a", "b", "c"]
    assert dataset.layout == "pairs"
    assert steps == [(1, 3), (2, 3), (3, 3)]
    sample = dataset.pairs[1].load()
    assert sample.name == "b"
    assert np.array_equal(sample.image, picture(1))
    assert np.array_equal(sample.mask, marking())


def test_pairs_travel_to_other_processes(folder):
    pair = pickle.loads(pickle.dumps(read_folder(folder).pairs[0]))
    assert np.array_equal(pair.load().image, picture(0))


def test_what_operating_systems_leave_behind_is_ignored(folder):
    for name in (".DS_Store", "images/Thumbs.db", "images/._a.png", "masks/.hidden.png", "images/notes.txt"):
        (folder / name).write_bytes(b"\0")
    (folder / "images" / "__MACOSX").mkdir()
    assert len(read_folder(folder).pairs) == 3


def test_the_fingerprint_ignores_names_formats_and_order(folder, tmp_path):
    other = tmp_path / "other"
    for seed, name in enumerate("zyx"):
        save(other / "images" / f"{name}.bmp", picture(seed))
        save(other / "masks" / f"{name}.tif", marking())
    first, second = read_folder(folder), read_folder(other)
    assert first.fingerprint == second.fingerprint
    save(other / "masks" / "z.tif", ~marking())
    assert read_folder(other).fingerprint != first.fingerprint


def test_a_stack_of_pages_becomes_pairs(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 16), dtype=np.uint8)
    masks = np.broadcast_to(marking(), (30, 12, 16)).astype(np.uint8)
    for part, stack in (("images", images), ("masks", masks)):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "train.tif", stack, metadata=None)
    pairs = read_folder(tmp_path).pairs
    assert [pair.name for pair in pairs[:2]] == ["train_p000", "train_p001"]
    assert len(pairs) == 30
    assert np.array_equal(pairs[7].load().image[..., 0], images[7])


def test_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message(Path("old_dataset")) == (
        "old_dataset/ has 1 problem:\n  no such folder\nCheck the path, then run the command again."
    )


def test_a_file_instead_of_a_folder(folder):
    assert message(folder / "images" / "a.png") == (
        "new_dataset/images/a.png/ has 1 problem:\n"
        "  a file; expected a folder\n"
        "Check the path, then run the command again."
    )


def test_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("new_dataset").mkdir()
    assert message(Path("new_dataset")) == (
        f"new_dataset/ has 1 problem:\n  an empty folder; expected images and masks\n{LAYOUTS}"
    )


def test_an_unknown_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("new_dataset/a.png"), picture())
    Path("new_dataset/raw").mkdir()
    assert message(Path("new_dataset")) == (
        f"new_dataset/ has 1 problem:\n  no known arrangement of images and masks; found a.png, raw/\n{LAYOUTS}"
    )


def test_one_level_too_high(folder):
    outer = Path("download")
    outer.mkdir()
    folder.rename(outer / "new_dataset")
    assert message(outer) == (
        "download/ has 1 problem:\n"
        "  no known arrangement of images and masks; found new_dataset/; "
        f"did you mean download/new_dataset/ ?\n{LAYOUTS}"
    )


@pytest.mark.parametrize("emptied", [True, False])
def test_no_masks(folder, emptied):
    shutil.rmtree(folder / "masks")
    if emptied:
        (folder / "masks").mkdir()
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  no masks; expected one for each of 3 files, such as masks/a.png\n{ADVICE}"
    )


def test_no_images(folder):
    shutil.rmtree(folder / "images")
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  no images; expected one for each of 3 files, such as images/a.png\n{ADVICE}"
    )


def test_neither_images_nor_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("new_dataset/images").mkdir(parents=True)
    assert message(Path("new_dataset")) == (
        "new_dataset/ has 1 problem:\n"
        f"  no images; expected images/NAME.png and masks/NAME.png (also jpg, bmp, tif)\n{ADVICE}"
    )


def test_an_image_without_mask_waits_for_a_prediction(folder):
    (folder / "masks/b.png").unlink()
    dataset = read_folder(folder)
    assert [pair.name for pair in dataset.pairs] == ["a", "c"]
    assert dataset.understanding.unmasked == ("images/b.png",)
    assert message(folder, ReadingOptions(all_annotated=True)) == (
        f"new_dataset/ has 1 problem:\n  images/b.png  no mask; expected masks/b.png\n{ADVICE}"
    )


def test_mask_without_image(folder):
    (folder / "images/b.png").unlink()
    assert message(folder) == f"new_dataset/ has 1 problem:\n  masks/b.png  no image; expected images/b.png\n{ADVICE}"


def test_two_masks_for_one_image(folder):
    save(folder / "masks/b.tif", marking())
    save(folder / "masks/c_mask.png", marking())
    assert message(folder) == (
        "new_dataset/ has 2 problems:\n"
        "  masks/b.tif       a second mask for the image images/b.png, beside masks/b.png; keep one\n"
        "  masks/c_mask.png  a second mask for the image images/c.png, beside masks/c.png; keep one\n" + ADVICE
    )


def test_two_images_of_one_name(folder):
    save(folder / "images/b.tif", picture(9))
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  images/b.tif  has the same name as images/b.png; rename one\n{ADVICE}"
    )


def test_a_mask_of_another_size(folder):
    save(folder / "masks/b.png", marking(24, 32))
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  masks/b.png  32 x 24 px, but its image is 16 x 12 px\n{ADVICE}"
    )


def test_a_text_file_called_png(folder):
    (folder / "images/b.png").write_text("Größe: 5 µm\n" * 100)
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/b.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file\n{ADVICE}"
    )


def test_other_bytes_called_png(folder):
    (folder / "images/b.png").write_bytes(bytes(range(256)))
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/b.png  not an image; expected the content of a PNG, JPEG, BMP or TIFF file\n{ADVICE}"
    )


def test_a_git_lfs_pointer(folder):
    (folder / "images/b.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/b.png  a Git LFS pointer, not the image itself; run `git lfs pull`\n{ADVICE}"
    )


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_truncated_file(folder, suffix):
    (folder / "images/b.png").unlink()
    cut(save(folder / f"images/b.{suffix}", picture(1)))
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/b.{suffix}  damaged, cut short or of an unusual kind; export it again as PNG or TIFF\n{ADVICE}"
    )


def test_a_zero_byte_file(folder):
    (folder / "masks/b.png").write_bytes(b"")
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  masks/b.png  an empty file (0 bytes); copy it again from its source\n{ADVICE}"
    )


def test_a_link_to_a_file_that_moved(folder):
    (folder / "images/b.png").unlink()
    (folder / "images/b.png").symlink_to("elsewhere.png")
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  images/b.png  cannot be opened: No such file or directory\n{ADVICE}"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(folder):
    (folder / "images/b.png").chmod(0)
    assert message(folder) == (
        f"new_dataset/ has 1 problem:\n  images/b.png  cannot be opened: Permission denied\n{ADVICE}"
    )


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        "  cannot be opened: Permission denied\n"
        "Make it readable, then run the command again."
    )


def test_a_format_that_is_not_read_is_said(folder):
    (folder / "images/d.xyz").write_bytes(b"XYZ")
    assert read_folder(folder).understanding.left_out == (
        Problem("images/d.xyz", "not a format that is read; expected png, jpg, bmp, tif, webp, gif or jp2"),
    )


def test_blank_masks(folder):
    save(folder / "masks/a.png", np.zeros((12, 16), bool))
    save(folder / "masks/b.png", np.ones((12, 16), bool))
    advice = "if that is right, accept it with --allow-blank-masks"
    assert message(folder) == (
        "new_dataset/ has 2 problems:\n"
        f"  masks/a.png  blank: every pixel is background; {advice}\n"
        f"  masks/b.png  blank: every pixel is foreground; {advice}\n{ADVICE}"
    )
    assert len(read_folder(folder, ReadingOptions(allow_blank=True)).pairs) == 3


def test_nothing_but_blank_masks_teaches_nothing(folder):
    for name in "abc":
        save(folder / f"masks/{name}.png", np.zeros((12, 16), bool))
    assert message(folder) == message(folder, ReadingOptions(allow_blank=True))
    assert message(folder, ReadingOptions(allow_blank=True)) == (
        f"new_dataset/ has 1 problem:\n  no mask marks anything; expected some that mark what is to be found\n{ADVICE}"
    )


def test_the_same_picture_twice(folder):
    save(folder / "images/c.png", picture(0))
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/c.png  the same picture as images/a.png; keep one, or training and test may share it\n{ADVICE}"
    )


def test_a_stack_beside_a_single_mask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pairs_folder(Path("new_dataset"), "a")
    tifffile.imwrite(folder / "images/b.tif", np.zeros((20, 12, 16), np.uint8))
    save(folder / "masks/b.png", marking())
    save(folder / "images/c.png", picture())
    tifffile.imwrite(folder / "masks/c.tif", np.zeros((3, 12, 16), np.uint8), photometric="minisblack")
    assert message(folder) == (
        "new_dataset/ has 2 problems:\n"
        "  masks/b.png  1 page, but its image has 20 pages\n"
        "  masks/c.tif  3 pages, but its image has 1 page; an image's 2 to 4 unnamed planes are taken for channels: "
        f"save a stack with its axes (ZYX)\n{ADVICE}"
    )


def test_a_page_called_like_another_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pairs_folder(Path("new_dataset"), ("s_p001",))
    images = np.random.default_rng(5).integers(0, 256, (5, 12, 16), dtype=np.uint8)
    tifffile.imwrite(folder / "images/s.tif", images, metadata=None)
    tifffile.imwrite(folder / "masks/s.tif", np.stack([marking()] * 5).astype(np.uint8), metadata=None)
    assert message(folder) == (
        "new_dataset/ has 1 problem:\n"
        f"  images/s_p001.png  is called s_p001, as images/s.tif page 1 is; rename one file\n{ADVICE}"
    )


def test_several_problems_at_once(folder):
    save(folder / "images/d.tif", picture(7))
    (folder / "images/a.png").write_text("not an image")
    (folder / "masks/a.png").write_bytes(b"")
    save(folder / "masks/b.png", marking(24, 32))
    assert message(folder) == (
        "new_dataset/ has 3 problems:\n"
        "  images/a.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file\n"
        "  masks/a.png   an empty file (0 bytes); copy it again from its source\n"
        f"  masks/b.png   32 x 24 px, but its image is 16 x 12 px\n{ADVICE}"
    )


def test_a_folder_need_not_fit_in_memory(folder):
    """Reading must keep no pixels: what it returns is a fraction of one image."""
    for name in "abc":
        Image.fromarray(picture(ord(name), 400, 400)).save(folder / f"images/{name}.png")
        save(folder / f"masks/{name}.png", marking(400, 400))
    assert len(pickle.dumps(read_folder(folder))) < 10_000


@pytest.mark.real_images
@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cracks_crackforest", 118),
        ("cropweed_cwfid", 60),
        ("livecell_mini", 20),
        ("membranes_isbi2012", 30),
        ("nuclei_dsb2018", 130),
    ],
)
def test_real_sets_are_sound(name, count):
    assert len(read_folder(REAL / name).pairs) == count
