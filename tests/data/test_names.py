"""Files called as people's tools call them are matched, and how is said; nothing is left out without a word."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.names import belonging
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from tests.data.folders import marking, picture, save


def write(folder, image, mask, names="abc"):
    for seed, name in enumerate(names):
        save(folder / f"{image.format(name)}.png", picture(seed))
        save(folder / f"{mask.format(name)}.png", marking())


def problems(folder, **options):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder, ReadingOptions(**options))
    return [f"{problem.where}: {problem.what}" for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("image", "mask", "layout", "pattern"),
    [
        ("images/{}", "masks/{}", "pairs", "images images/NAME, masks masks/NAME"),
        ("images/{}", "masks/{}-labelled", "pairs", "images images/NAME, masks masks/NAME-labelled"),
        ("images/{}", "masks/{}_GT", "pairs", "images images/NAME, masks masks/NAME_GT"),
        ("images/{}", "masks/mask_{}", "pairs", "images images/NAME, masks masks/mask_NAME"),
        ("images/{}_training", "1st_manual/{}_manual1", "pairs", "images images/NAME, masks 1st_manual/NAME_manual1"),
        ("images/image_{}", "masks/mask_{}", "pairs", "images images/NAME, masks masks/mask_NAME"),
        ("image/{}", "label/{}", "pairs", "images image/NAME, masks label/NAME"),
        ("JPEGImages/{}", "SegmentationClass/{}", "pairs", "images JPEGImages/NAME, masks SegmentationClass/NAME"),
        ("{}", "masks/{}", "pairs", "images NAME, masks masks/NAME"),
        ("{}_img", "{}_masks", "cellpose", "images NAME, masks NAME_masks beside them"),
        ("{}", "{}_seg", "cellpose", "images NAME, masks NAME_seg beside them"),
        ("train/images/{}", "train/masks/{}", "parts", "images images/NAME, masks masks/NAME"),
    ],
)
def test_names_of_the_table_are_matched_and_said(tmp_path, image, mask, layout, pattern):
    write(tmp_path, image, mask)
    dataset = read_folder(tmp_path)
    assert len(dataset.pairs) == 3
    assert (dataset.layout, dataset.understanding.pattern) == (layout, pattern)


def test_names_composed_by_another_computer(tmp_path):
    for form, part in (("NFC", "images"), ("NFD", "masks")):
        name = unicodedata.normalize(form, "Zellkörper é 1")
        save(tmp_path / part / f"{name}.png", picture() if part == "images" else marking())
    assert [pair.name for pair in read_folder(tmp_path).pairs] == [unicodedata.normalize("NFC", "Zellkörper é 1")]


def test_upper_and_lower_case_count_only_where_they_must(tmp_path):
    found = belonging([tmp_path / "A.png", tmp_path / "b.png"], [tmp_path / "a.tif", tmp_path / "B_mask.tif"])
    assert {mask.name: image.name for mask, image in found.image_of.items()} == {
        "a.tif": "A.png",
        "B_mask.tif": "b.png",
    }
    two = belonging([tmp_path / "a.png", tmp_path / "A.png"], [tmp_path / "m" / "A.png", tmp_path / "m" / "a.png"])
    assert all(mask.name == image.name for mask, image in two.image_of.items())


def test_masks_of_single_objects_are_joined_and_said(tmp_path):
    for seed, name in enumerate("ab"):
        save(tmp_path / f"images/{name}.png", picture(seed))
        for place in range(3):
            mask = np.zeros((12, 16), bool)
            mask[3 * place : 3 * place + 2, 4:9] = True
            save(tmp_path / f"masks/{name}_{place}.png", mask)
    dataset = read_folder(tmp_path)
    assert dataset.understanding.notes == ("6 masks of single objects are joined into those of 2 images.",)
    assert dataset.pairs[0].load().mask.sum() == 30


def test_two_annotators_are_not_joined(tmp_path):
    save(tmp_path / "images/a.png", picture())
    for place in range(2):
        save(tmp_path / f"masks/a_{place}.png", np.roll(marking(), place, axis=1))
    assert problems(tmp_path) == [
        "masks/a_1.png: covers what other masks of its image cover; a second annotator's? Keep one annotation an image"
    ]


def test_subfolders_on_both_sides_are_read_and_said(tmp_path):
    write(tmp_path, "images/plate1/{}", "masks/plate1/{}")
    for seed, name in enumerate("de"):
        save(tmp_path / f"images/{name}.png", picture(20 + seed))
        save(tmp_path / f"masks/{name}.png", marking())
    (tmp_path / "images/plate2").mkdir()
    save(tmp_path / "images/plate2/f.png", picture(9))
    dataset = read_folder(tmp_path)
    assert [pair.name for pair in dataset.pairs][:2] == ["d", "e"]
    assert [pair.name for pair in dataset.pairs][2:] == ["plate1_a", "plate1_b", "plate1_c"]
    assert dataset.understanding.notes == ("subfolders are read too: plate1.",)
    assert [p.where for p in dataset.understanding.left_out] == ["images/plate2/"]
    deeper = read_folder(tmp_path, ReadingOptions(recursive=True, unmasked_are_blank=True))
    assert [pair.name for pair in deeper.pairs if pair.blank] == ["plate2_f"]


def test_subfolders_of_any_depth_are_read_or_named(tmp_path):
    write(tmp_path, "images/day1/plate1/{}", "masks/day1/plate1/{}")
    for part in ("images/day1/plate2", "masks/day2"):
        save(tmp_path / part / "x.png", picture(9))
    dataset = read_folder(tmp_path)
    assert [pair.name for pair in dataset.pairs] == ["day1_plate1_a", "day1_plate1_b", "day1_plate1_c"]
    assert [p.where for p in dataset.understanding.left_out] == ["images/day1/plate2/", "masks/day2/"]


def test_train_and_val_are_the_users_own_split(tmp_path):
    for part, names in (("train", "abc"), ("val", "de")):
        for seed, name in enumerate(names):
            save(tmp_path / f"{part}/images/{name}.png", picture(seed + 10 * (part == "val")))
            save(tmp_path / f"{part}/masks/{name}.png", marking())
    dataset = read_folder(tmp_path)
    assert {pair.name: pair.part for pair in dataset.pairs} == {
        "train_a": "train",
        "train_b": "train",
        "train_c": "train",
        "val_d": "held out",
        "val_e": "held out",
    }
    assert dataset.understanding.split == "as the folders are called"


def test_junk_is_named_and_not_fatal(tmp_path):
    write(tmp_path, "images/{}", "masks/{}")
    for name in ("images/Icon\r", "masks/ehthumbs.db", "images/notes.txt", "masks/RoiSet.zip", "images/macro.ijm"):
        (tmp_path / name).write_bytes(b"x")
    left_out = read_folder(tmp_path).understanding.left_out
    assert {problem.where for problem in left_out} == {
        *("images/Icon\r", "masks/ehthumbs.db", "images/notes.txt", "masks/RoiSet.zip", "images/macro.ijm")
    }


def test_what_lies_beside_images_and_masks_is_named(tmp_path):
    write(tmp_path, "images/{}", "masks/{}")
    save(tmp_path / "masks_weed/a.png", marking())
    save(tmp_path / "figure.png", picture(7))
    left_out = read_folder(tmp_path).understanding.left_out
    assert [p.where for p in left_out] == ["figure.png", "masks_weed/"]
    assert {p.what for p in left_out} == {"beside the folders of images and masks"}


def test_two_folders_of_masks_are_a_question(tmp_path):
    write(tmp_path, "images/{}", "masks/{}")
    write(tmp_path, "images/{}", "labels/{}")
    assert problems(tmp_path) == [
        "labels/: a folder of masks, and so is masks/; keep one and move the others elsewhere"
    ]


def test_images_without_masks_are_blank_where_that_is_said(tmp_path):
    write(tmp_path, "images/{}", "masks/{}")
    (tmp_path / "masks/b.png").unlink()
    pairs = read_folder(tmp_path, ReadingOptions(unmasked_are_blank=True)).pairs
    assert [pair.blank for pair in pairs] == [False, True, False]
    assert not pairs[1].load().mask.any()


def test_a_mask_without_image_makes_images_without_mask_a_mistake(tmp_path):
    write(tmp_path, "images/{}", "masks/{}")
    (tmp_path / "masks/b.png").rename(tmp_path / "masks/bb.png")
    assert problems(tmp_path) == [
        "images/b.png: no mask; expected masks/b.png",
        "masks/bb.png: no image; expected images/bb.png",
    ]


def ours(path, mask):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("ptsam-auto specialist", "0" * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, pnginfo=info)


def test_our_own_masks_are_never_taken_for_drawn_ones(tmp_path):
    for seed, name in enumerate("ab"):
        save(tmp_path / f"images/{name}.png", picture(seed))
        ours(tmp_path / f"masks/{name}.png", marking())
    with pytest.raises(DatasetError, match="no masks; expected one for each of 2 files"):
        read_folder(tmp_path)
    save(tmp_path / "masks/a.png", marking())
    dataset = read_folder(tmp_path)
    assert [pair.name for pair in dataset.pairs] == ["a"]
    assert dataset.understanding.notes == ("masks/ holds 1 masks that ptsam-auto predicted; they are left out.",)


def coco(folder):
    import json

    images = [{"id": i, "file_name": f"{name}.png", "height": 12, "width": 16} for i, name in enumerate("ab")]
    outline = [[2, 2, 8, 2, 8, 5, 2, 5]]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "segmentation": outline} for i in range(2)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    for seed, name in enumerate("ab"):
        save(folder / f"images/{name}.png", picture(seed))


def test_our_masks_inside_a_coco_project_do_not_outrank_it(tmp_path):
    coco(tmp_path)
    before = read_folder(tmp_path)
    for name in "ab":
        ours(tmp_path / f"masks/{name}.png", ~marking())
    after = read_folder(tmp_path)
    assert after.layout == "coco"
    assert after.fingerprint == before.fingerprint
    assert "masks/ holds 2 masks that ptsam-auto predicted; they are left out." in after.understanding.notes


def test_a_folder_that_is_two_layouts_is_a_question(tmp_path):
    coco(tmp_path)
    for name in "ab":
        save(tmp_path / f"masks/{name}.png", marking())
    assert problems(tmp_path) == [
        ": two arrangements at once: coco (2 images) and pairs (2 images); which one holds what was drawn?"
    ]
    assert read_folder(tmp_path, ReadingOptions(layout="pairs")).layout == "pairs"
    assert read_folder(tmp_path, ReadingOptions(layout="coco")).layout == "coco"


def test_one_file_that_a_decoder_stumbles_over_does_not_hide_the_others(tmp_path, monkeypatch):
    write(tmp_path, "images/{}", "masks/{}")
    (tmp_path / "masks/c.png").write_bytes(b"")
    from ptsam_auto.data.formats.layout import MaskFile

    really = MaskFile.values

    def fails(self, *how):
        if self.file.name == "a.png":
            raise RuntimeError("a bug of a decoder")
        return really(self, *how)

    monkeypatch.setattr(MaskFile, "values", fails)
    assert problems(tmp_path) == [
        "images/a.png: cannot be read: RuntimeError a bug of a decoder",
        "masks/c.png: an empty file (0 bytes); copy it again from its source",
    ]
