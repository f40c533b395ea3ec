"""Several classes: every way in which people name them gives the same numbers."""

import json

import numpy as np
import pytest
from PIL import Image

from ptsam_auto.data.augment import Augmentation, augmented
from ptsam_auto.data.dataset import Sample, with_classes
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.legend import read_legend
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from ptsam_auto.training.feature_files import packed, unpacked

CLASSES = ReadingOptions(classes=True)
RNG = np.random.default_rng(0)


def scene(number):
    """An image with a cell (1) and, in all but the last image, debris (2)."""
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 5:30] = 1
    if number < 3:
        mask[25:40, 8 * number : 8 * number + 20] = 2
    return RNG.integers(0, 255, (48, 64, 3)).astype(np.uint8), mask


def write_images(folder):
    (folder / "images").mkdir(parents=True)
    masks = []
    for number in range(4):
        image, mask = scene(number)
        Image.fromarray(image).save(folder / "images" / f"a{number}.png")
        masks.append(mask)
    return masks


def write_label_images(folder, values=(0, 1, 2)):
    (folder / "masks").mkdir(parents=True)
    masks = write_images(folder)
    for number, mask in enumerate(masks):
        Image.fromarray(np.array(values, np.uint8)[mask]).save(folder / "masks" / f"a{number}.png")
    return masks


def read(folder, options=CLASSES):
    dataset = read_folder(folder, options)
    return dataset, [pair.load().mask for pair in dataset.pairs]


@pytest.mark.parametrize(
    "legend",
    [
        {"background": 0, "cell": 100, "debris": 200},
        {"debris": 200, "cell": 100},
        {"0": "background", "100": "cell", "200": "debris"},
        {"classes": {"cell": [100], "debris": [200]}},
        [{"name": "cell", "value": 100}, {"name": "debris", "color": "#c8c8c8"}],
    ],
)
def test_a_legend_names_the_values_of_the_masks(tmp_path, legend):
    expected = write_label_images(tmp_path, (0, 100, 200))
    (tmp_path / "classes.json").write_text(json.dumps(legend))
    dataset, masks = read(tmp_path, ReadingOptions())
    assert dataset.classes == ("cell", "debris")
    assert all(np.array_equal(mask, own) for mask, own in zip(masks, expected, strict=True))
    assert any("class 1, cell: 100" in line for line in dataset.understanding.lines())


def test_a_legend_may_be_a_list_and_leave_a_class_out(tmp_path):
    write_label_images(tmp_path)
    (tmp_path / "classes.json").write_text('["background", "cell", "debris", "fibre"]')
    dataset, _ = read(tmp_path)
    assert dataset.classes == ("cell", "debris")
    assert any("fibre" in line and "no mask shows" in line for line in dataset.understanding.lines())
    one, masks = read(tmp_path, ReadingOptions(categories=("debris",), allow_blank=True))
    assert one.classes == ("debris",)
    assert masks[0].dtype == bool
    assert masks[0].sum() == 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"cell": true}', "the value of cell is True"),
        ("{}", "names no class"),
        ('[{"title": "cell"}]', "an entry has no name"),
        ("[[[", "classes.json"),
        ("[" * 100_000, "classes.json"),
        ('{"cell": 1, "fibre": 3}', "value 2 is in the masks, but not in the legend"),
    ],
)
def test_a_legend_that_is_wrong_is_refused(tmp_path, content, message):
    write_label_images(tmp_path)
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_folder(tmp_path, CLASSES)


@pytest.mark.parametrize("content", ['{"version": "1.0", "labels": [1]}', '{"cell": 1}', "not JSON"])
def test_another_programs_classes_json_does_not_spoil_a_folder_of_masks(tmp_path, content):
    write_label_images(tmp_path, (0, 255, 255))
    (tmp_path / "classes.json").write_text(content)
    dataset, masks = read(tmp_path, ReadingOptions())
    assert (dataset.classes, masks[0].dtype, masks[0].sum()) == ((), bool, 675)
    assert any("legend" in line and "not used" in line for line in dataset.understanding.lines())


def test_values_without_names_are_classes_if_the_user_says_so(tmp_path):
    expected = write_label_images(tmp_path, (0, 3, 7))
    dataset, masks = read(tmp_path)
    assert dataset.classes == ("3", "7")
    assert all(np.array_equal(mask, own) for mask, own in zip(masks, expected, strict=True))
    together = read(tmp_path, ReadingOptions())[1]
    assert {str(mask.dtype) for mask in together} == {"bool"}, "without --classes all labels are the foreground"


def test_colours_are_classes(tmp_path):
    (tmp_path / "masks").mkdir()
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    for number, mask in enumerate(write_images(tmp_path)):
        Image.fromarray(colours[mask]).save(tmp_path / "masks" / f"a{number}.png")
    dataset, masks = read(tmp_path)
    assert dataset.classes == ("#0000ff", "#ff0000")
    assert np.bincount(masks[0].ravel()).tolist() == [48 * 64 - 375 - 300, 300, 375]


def write_class_folders(folder, classes=((1, "cell"), (2, "debris"))):
    """Write masks/CLASS/NAME.png for the classes that an image shows; return the masks of class numbers."""
    written = write_images(folder)
    for number, mask in enumerate(written):
        for value, name in classes:
            (folder / "masks" / name).mkdir(parents=True, exist_ok=True)
            if (mask == value).any():
                picture = Image.fromarray((mask == value).astype(np.uint8) * 255)
                picture.save(folder / "masks" / name / f"a{number}.png")
    return written


def test_a_folder_of_masks_for_each_class(tmp_path):
    expected = write_class_folders(tmp_path)
    dataset, masks = read(tmp_path, ReadingOptions())
    assert (dataset.layout, dataset.classes) == ("classes", ("cell", "debris"))
    assert all(np.array_equal(mask, own) for mask, own in zip(masks, expected, strict=True))
    with pytest.raises(DatasetError, match="no class nothing"):
        read_folder(tmp_path, ReadingOptions(categories=("nothing",)))


def test_train_and_test_have_the_same_class_numbers_though_one_of_them_lacks_a_class(tmp_path):
    train = write_class_folders(tmp_path / "train")
    test = [mask for mask in write_class_folders(tmp_path / "test", [(2, "debris")]) if (mask == 2).any()]
    dataset, masks = read(tmp_path, ReadingOptions())
    assert (dataset.layout, dataset.classes) == ("parts", ("cell", "debris"))
    assert [pair.part for pair in dataset.pairs] == ["held out"] * len(test) + ["train"] * len(train)
    expected = [np.where(mask == 2, mask, 0) for mask in test] + train
    assert all(np.array_equal(mask, own) for mask, own in zip(masks, expected, strict=True))
    one, masks = read(tmp_path, ReadingOptions(categories=("debris",)))
    assert one.classes == ("debris",)
    assert np.array_equal(masks[0], test[0] == 2)


def test_a_part_without_the_class_folders_of_the_others_is_named(tmp_path):
    write_class_folders(tmp_path / "train")
    write_label_images(tmp_path / "val")
    with pytest.raises(DatasetError, match=r"val/ +no folder of masks for each class \(cell, debris\)"):
        read_folder(tmp_path)


def coco(folder):
    write_images(folder)
    annotations = []
    for image in range(4):
        for category, square in ((7, [5, 5, 30, 5, 30, 20, 5, 20]), (3, [8, 8, 15, 8, 15, 15, 8, 15])):
            annotations.append({"id": len(annotations), "image_id": image, "category_id": category})
            annotations[-1] |= {"segmentation": [square], "iscrowd": 0, "bbox": [5, 5, 25, 15], "area": 1}
    categories = [{"id": 3, "name": "nucleus"}, {"id": 7, "name": "cell"}, {"id": 9, "name": "unused"}]
    images = [{"id": image, "file_name": f"a{image}.png", "width": 64, "height": 48} for image in range(4)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def test_coco_categories_are_classes_and_the_smaller_one_is_on_top(tmp_path):
    coco(tmp_path)
    dataset, masks = read(tmp_path)
    assert dataset.classes == ("nucleus", "cell")
    assert np.bincount(masks[0].ravel()).tolist() == [48 * 64 - 375, 49, 375 - 49]
    together, masks = read(tmp_path, ReadingOptions())
    assert (together.classes, masks[0].dtype) == ((), bool)
    assert any("--classes" in line for line in together.understanding.lines())


def test_nnunet_labels_are_classes(tmp_path):
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    for number in range(4):
        image, mask = scene(number)
        Image.fromarray(image[..., 0]).save(tmp_path / "imagesTr" / f"a{number}_0000.png")
        Image.fromarray(mask).save(tmp_path / "labelsTr" / f"a{number}.png")
    settings = {"labels": {"background": 0, "cell": 1, "debris": 2}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(settings))
    dataset, masks = read(tmp_path)
    assert dataset.classes == ("cell", "debris")
    assert np.bincount(masks[0].ravel()).tolist() == [48 * 64 - 375 - 300, 375, 300]
    assert read(tmp_path, ReadingOptions())[1][0].dtype == bool


def test_test_images_that_lack_a_class_get_the_numbers_of_the_training_images(tmp_path):
    write_label_images(tmp_path, (0, 0, 7))
    (tmp_path / "classes.json").write_text('{"debris": 7}')
    dataset = read_folder(tmp_path, ReadingOptions(allow_blank=True))
    renumbered = with_classes(dataset, ("cell", "debris"))
    assert np.unique(renumbered.pairs[0].load().mask).tolist() == [0, 2]
    with pytest.raises(DatasetError, match="its classes are debris; expected cell, fibre"):
        with_classes(dataset, ("cell", "fibre"))


def test_views_and_their_files_keep_the_numbers():
    image, mask = scene(0)
    ignored = np.zeros(mask.shape, bool)
    ignored[:3] = True
    view = augmented(Sample("a", image, mask, ignored), Augmentation(), 96, 128, seed=3)
    assert view.mask.dtype == np.uint8
    assert set(np.unique(view.mask)) == {0, 1, 2}
    assert not view.mask[view.ignored].any()

    class Bits:
        def as_buffer(self):
            return packed(mask)

    assert np.array_equal(unpacked(Bits(), *mask.shape), mask)


def test_no_legend_is_no_error(tmp_path):
    assert read_legend(tmp_path) is None
