import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from tests.data.folders import marking, picture, save

ADVICE = "Fix or remove these files, then run the command again."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    return Path("set")


def message(folder):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder)
    return str(raised.value)


def assert_reads(folder, layout, names="ab"):
    """The folder holds picture(0), picture(1), ... under these names, all marked alike."""
    dataset = read_folder(folder)
    assert dataset.layout == layout
    assert [pair.name for pair in dataset.pairs] == list(names)
    for seed, pair in enumerate(dataset.pairs):
        sample = pair.load()
        assert np.array_equal(sample.image, picture(seed))
        assert np.array_equal(sample.mask, marking())


def test_pairs_with_mixed_formats_and_mask_endings(folder):
    save(folder / "Images/a.PNG", picture(0))
    save(folder / "masks/a.Tif", marking())
    save(folder / "Images/b.bmp", picture(1))
    save(folder / "masks/b_mask.png", marking())
    assert_reads(folder, "pairs")


def test_an_image_whose_own_name_ends_like_a_mask(folder):
    for seed, name in enumerate(("a", "a_mask")):
        save(folder / f"images/{name}.png", picture(seed))
        save(folder / f"masks/{name}.png", marking())
    assert_reads(folder, "pairs", ("a", "a_mask"))


def test_cellpose(folder):
    save(folder / "a.png", picture(0))
    save(folder / "a_masks.tif", marking())
    save(folder / "b.tif", picture(1))
    save(folder / "b_cp_masks.png", marking())
    save(folder / "b_flows.tif", picture(5))
    (folder / "b_seg.npy").write_bytes(b"\x93NUMPY")
    assert_reads(folder, "cellpose")


def test_pickled_cellpose_masks_are_never_read(folder):
    save(folder / "a.png", picture(0))
    save(folder / "a_masks.png", marking())
    save(folder / "b.png", picture(1))
    (folder / "b_seg.npy").write_bytes(b"\x93NUMPY")
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  b_seg.npy  pickled data, which is never read (opening it can run a program); "
        f"in Cellpose choose File > Save masks as PNG/tif, which writes b_cp_masks.png\n{ADVICE}"
    )


def coco(folder, segmentations, **changes):
    """Two images, the first with these segmentations, the second drawn soundly."""
    for seed, name in enumerate("ab"):
        save(folder / f"images/{name}.png", picture(seed))
    sound = {"size": [12, 16], "counts": uncompressed(marking())}
    content = {
        "images": [{"id": i, "file_name": f"{name}.png", "height": 12, "width": 16} for i, name in enumerate("ab")],
        "annotations": [
            {"id": i, "image_id": image, "category_id": i, "segmentation": segmentation}
            for i, (image, segmentation) in enumerate([*((0, one) for one in segmentations), (1, sound)])
        ],
        "categories": [],
    }
    content.update(changes)
    (folder / "annotations").mkdir()
    (folder / "annotations/all.json").write_text(json.dumps(content))
    (folder / "splits.json").write_text(json.dumps({"train": ["a"]}))


def uncompressed(mask):
    """Run lengths down the columns, background first."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff([0, *ends, mask.size]).tolist()
    return counts if counts[-1] else counts[:-1]


def test_coco_polygons_and_run_lengths_of_all_categories_are_joined(folder):
    left, right = marking(), marking()
    left[:, 6:], right[:, :9] = False, False
    compressed = coco_mask.encode(np.asfortranarray(left.astype(np.uint8)))
    compressed["counts"] = compressed["counts"].decode()
    polygon = [[6, 2, 9, 2, 9, 5, 6, 5]]
    coco(folder, [polygon, compressed, {"size": [12, 16], "counts": uncompressed(right)}])
    assert_reads(folder, "coco")


def test_coco_images_are_found_though_listed_with_another_computers_path(folder):
    whole = {"size": [12, 16], "counts": uncompressed(marking())}
    images = [
        {"id": 0, "file_name": "C:\\Users\\lab\\a.png", "height": 12, "width": 16},
        {"id": 1, "file_name": "images/b.png", "height": 12, "width": 16},
    ]
    coco(folder, [whole], images=images)
    assert_reads(folder, "coco")


def test_coco_boxes_lost_images_and_wrong_sizes(folder):
    images = [
        {"id": 0, "file_name": "a.png", "height": 12, "width": 16},
        {"id": 1, "file_name": "b.png", "height": 12, "width": 16},
        {"id": 2, "file_name": "sub/c.png", "height": 12, "width": 16},
        {"id": 3, "file_name": "d.png", "height": 24, "width": 32},
    ]
    polygon = [[2, 2, 8, 2, 8, 5, 2, 5]]
    annotations = [
        {"image_id": 0, "segmentation": polygon},
        {"image_id": 0, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "segmentation": polygon},
        {"image_id": 3, "segmentation": polygon},
        {"image_id": 7, "segmentation": polygon},
    ]
    coco(folder, [], images=images, annotations=annotations)
    save(folder / "images/d.png", picture(3))
    assert message(folder) == (
        "set/ has 4 problems:\n"
        "  annotations/all.json         annotations of image 7, which is not among its images\n"
        "  annotations/all.json: d.png  32 x 24 px, but its image is 16 x 12 px\n"
        "  images/a.png                 1 of its 2 annotations cannot be drawn; expected polygons or run lengths\n"
        f"  sub/c.png                    listed in annotations/all.json, but neither here nor in images/\n{ADVICE}"
    )


def test_a_broken_coco_file(folder):
    save(folder / "images/a.png", picture())
    (folder / "labels.json").write_text('{"images": [')
    assert message(folder) == (
        f"set/ has 1 problem:\n  labels.json  not valid JSON: Expecting value: line 1 column 13 (char 12)\n{ADVICE}"
    )


def test_a_coco_file_that_lacks_sizes(folder):
    coco(folder, [], images=[{"id": 0, "file_name": "a.png"}])
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  annotations/all.json  not as COCO writes it: KeyError 'height'; export it again\n{ADVICE}"
    )


def test_two_coco_files_that_contradict_each_other(folder):
    coco(folder, [[[2, 2, 8, 2, 8, 5, 2, 5]]])
    content = json.loads((folder / "annotations/all.json").read_text())
    (folder / "old.json").write_text(json.dumps(content | {"annotations": content["annotations"][:1]}))
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  annotations/all.json  annotates images/b.png in another way than old.json does; "
        f"keep one of the two files, or join what they say\n{ADVICE}"
    )


def test_damaged_run_lengths(folder):
    coco(folder, [{"size": [12, 16], "counts": "~~"}])
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  annotations/all.json: a.png  annotation 0 cannot be drawn: "
        f"its run lengths hold characters that COCO does not use\n{ADVICE}"
    )


def nnunet(folder, ending=".png", **settings):
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    content = {"channel_names": {"0": "R"}, "labels": {"background": 0, "cell": 1}, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(content | settings))


def test_nnunet_with_colour_files(folder):
    nnunet(folder)
    for seed, name in enumerate("ab"):
        save(folder / f"imagesTr/{name}_0000.png", picture(seed))
        save(folder / f"labelsTr/{name}.png", marking().astype(np.uint8))
    assert_reads(folder, "nnunet")


def test_nnunet_with_a_file_for_each_channel(folder):
    nnunet(folder, ".tif")
    for seed, name in enumerate("ab"):
        for channel in range(3):
            save(folder / f"imagesTr/{name}_000{channel}.tif", picture(seed)[..., channel])
        save(folder / f"labelsTr/{name}.tif", marking())
    assert_reads(folder, "nnunet")


def test_nnunets_ignore_label_is_not_foreground(folder):
    nnunet(folder, labels={"background": 0, "cell": 1, "ignore": 2})
    labels = marking().astype(np.uint8)
    labels[8:] = 2
    save(folder / "imagesTr/a_0000.png", picture(0))
    save(folder / "labelsTr/a.png", labels)
    assert_reads(folder, "nnunet", "a")
    sample = read_folder(folder).pairs[0].load()
    assert np.array_equal(sample.ignored, labels == 2)


def test_an_nnunet_value_that_is_no_label_is_refused(folder):
    nnunet(folder)
    labels = marking().astype(np.uint8)
    labels[8:] = 7
    save(folder / "imagesTr/a_0000.png", picture(0))
    save(folder / "labelsTr/a.png", labels)
    assert message(folder) == (
        f"set/ has 1 problem:\n  labelsTr/a.png  holds the value 7, which is none of the set's labels\n{ADVICE}"
    )


def test_of_several_nnunet_labels_one_is_chosen_by_name(folder):
    nnunet(folder, labels={"background": 0, "cell": 1, "dirt": 2})
    labels = marking().astype(np.uint8)
    labels[8:] = 2
    save(folder / "imagesTr/a_0000.png", picture(0))
    save(folder / "labelsTr/a.png", labels)
    both = read_folder(folder)
    assert both.understanding.notes == (
        "foreground: cell, dirt; choose with --class NAME, or tell them apart with --classes.",
    )
    assert np.array_equal(both.pairs[0].load().mask, labels > 0)
    one = read_folder(folder, ReadingOptions(categories=("cell",)))
    assert one.understanding.notes == ("foreground: cell; background: dirt.",)
    assert np.array_equal(one.pairs[0].load().mask, labels == 1)


def test_nnunet_volumes_are_refused(folder):
    nnunet(folder, ".mha")
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  dataset.json  file_ending is .mha, a volume that is not read; "
        f"export 2-D slices as png, jpg, bmp, tif, webp, gif or jp2\n{ADVICE}"
    )


def test_nnunet_without_settings(folder):
    (folder / "imagesTr").mkdir()
    assert message(folder) == (
        f"set/ has 1 problem:\n  dataset.json  missing; expected nnU-Net's file beside imagesTr/\n{ADVICE}"
    )


def test_nnunet_names_sizes_and_missing_channels(folder):
    nnunet(folder)
    for name in ("a_0000", "a_0001", "b_0001", "c", "d_0000"):
        save(folder / f"imagesTr/{name}.png", picture(ord(name[0]))[..., 0])
    save(folder / "imagesTr/d_0001.png", picture(0, 24, 32)[..., 0])
    for name in "abd":
        save(folder / f"labelsTr/{name}.png", marking())
    assert message(folder) == (
        "set/ has 3 problems:\n"
        "  imagesTr/b_0000.png  missing; other images have 2 channels\n"
        "  imagesTr/c.png       no channel number; expected c_0000.png\n"
        f"  imagesTr/d_0001.png  32 x 24 px, but d_0000.png, its first channel, is 16 x 12 px\n{ADVICE}"
    )
