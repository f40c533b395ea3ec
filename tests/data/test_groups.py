"""No picture is on both sides of a split: pages, patients, near-duplicates, and what the user decided."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.groups import proposal
from ptsam_auto.data.leaks import KnownImage, seen_in_training, shared
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import ConfigError, DatasetError
from tests.data.folders import save
from tests.data.stored import scene


def write(folder, names, seeds=None):
    for place, name in enumerate(names):
        image, labels = scene((seeds or range(len(names)))[place])
        save(folder / f"images/{name}.png", image)
        save(folder / f"masks/{name}.png", labels > 0)
    return folder


def sides(pairs, seed=0):
    train, test = hold_out(pairs, seed=seed)
    return {pair.name for pair in train}, {pair.name for pair in test}


def test_pages_of_a_stack_stay_together(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for stack in range(4):
        scenes = [scene(10 * stack + page) for page in range(3)]
        for part, which in (("images", 0), ("masks", 1)):
            pages = np.array([one[which] for one in scenes])
            path = tmp_path / part / f"s{stack}.tif"
            tifffile.imwrite(path, pages, metadata={"axes": "ZYX"}, photometric="minisblack")
    dataset = read_folder(tmp_path)
    assert dataset.understanding.groups == ("pages of one stack stay together (stacks: 4)",)
    for seed in range(6):
        train, test = hold_out(dataset.pairs, seed=seed)
        assert not {pair.group for pair in train} & {pair.group for pair in test}
        assert len(test) == 3


def test_nearly_the_same_picture_stays_on_one_side(tmp_path):
    write(tmp_path, "abcdef")
    image, labels = scene(0)
    brighter = Image.fromarray((image.astype(float) * 0.8 + 30).round().astype(np.uint8))
    brighter.save(tmp_path / "images/z.jpg", quality=80)
    shifted = labels > 0
    shifted[:2] = False
    save(tmp_path / "masks/z.png", shifted)
    dataset = read_folder(tmp_path)
    assert dataset.understanding.groups == ("2 images are nearly the same as another one",)
    for seed in range(12):
        train, test = sides(dataset.pairs, seed)
        assert {"a", "z"} <= train or {"a", "z"} <= test


def test_different_fields_are_not_called_the_same(tmp_path):
    rng = np.random.default_rng(0)
    shade = np.hypot(*(np.mgrid[:64, :64] - 32)) * 2
    for place in range(6):
        image = (120 - shade + rng.normal(0, 10, (64, 64))).clip(0, 255).astype(np.uint8)
        labels = scene(place)[1]
        image[labels > 0] = np.minimum(image[labels > 0].astype(int) + 90, 255)
        save(tmp_path / f"images/{place}.png", image)
        save(tmp_path / f"masks/{place}.png", labels > 0)
    assert read_folder(tmp_path).understanding.groups == ()


NAMES = [f"patient_{p:02d}_slice_{s:02d}" for p in range(4) for s in range(2)]


def test_names_propose_groups_and_the_user_decides(tmp_path):
    write(tmp_path, NAMES)
    (line,) = read_folder(tmp_path).understanding.groups
    assert line.startswith("names suggest 4 groups such as patient_00 (2 images); to keep them on one side")
    dataset = read_folder(tmp_path, ReadingOptions(groups=r"(patient_\d+)"))
    assert {pair.group for pair in dataset.pairs} == {f"patient_{p:02d}" for p in range(4)}
    for seed in range(8):
        train, test = sides(dataset.pairs, seed)
        assert not {name[:10] for name in train} & {name[:10] for name in test}


def test_a_list_of_groups_in_the_folder_counts(tmp_path):
    write(tmp_path, "abcdef")
    (tmp_path / "groups.csv").write_text("name,group\na,m1\nb.png,m1\nc,m2\nd,m2\n")
    dataset = read_folder(tmp_path)
    assert dataset.understanding.groups == ("2 groups, as groups.csv says",)
    for seed in range(8):
        train, test = sides(dataset.pairs, seed)
        for two in ({"a", "b"}, {"c", "d"}):
            assert two <= train or two <= test


def test_qupaths_tiles_propose_their_slide():
    names = [f"slide {s} [d=2,x={x},y=0]" for s in range(2) for x in (0, 512)]
    assert proposal(names).startswith("names suggest 2 groups such as slide 0 (2 images)")
    assert proposal(["a1", "b2", "c3"]) == ""


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("(", "( is neither a CSV file nor a regular expression: missing ), unterminated subpattern at position 0"),
        ("a.csv", "there is no file a.csv; expected a CSV file with the columns name and group"),
        ("x", "the expression x has no part in brackets, which would be the group's name"),
        ("(x)", "the expression (x) matches no image's name, such as a"),
    ],
)
def test_groups_that_make_no_sense(tmp_path, groups, message):
    write(tmp_path, "ab")
    with pytest.raises(ConfigError) as raised:
        read_folder(tmp_path, ReadingOptions(groups=groups))
    assert str(raised.value) == message


def test_a_list_that_names_what_is_not_there(tmp_path):
    write(tmp_path, "ab")
    (tmp_path / "groups.csv").write_text("name,group\na,1\nx,1\n")
    with pytest.raises(DatasetError) as raised:
        read_folder(tmp_path)
    assert [(p.where, p.what) for p in raised.value.problems] == [
        ("groups.csv", "names x, which are not among the images with masks")
    ]


@pytest.mark.parametrize("table", [False, True])
def test_the_users_own_split_is_honoured(tmp_path, table):
    write(tmp_path, "abcdef")
    if table:
        (tmp_path / "splits.csv").write_text("name;split\na;train\nb;train\nc;test\nd;train\ne;val\n")
    else:
        (tmp_path / "splits.json").write_text(json.dumps({"train": ["a", "b", "d"], "test": ["c"], "val": ["e"]}))
    dataset = read_folder(tmp_path)
    for seed in range(3):
        assert sides(dataset.pairs, seed) == ({"a", "b", "d", "f"}, {"c", "e"})
    where = "splits.csv" if table else "splits.json"
    assert dataset.understanding.split == f"as {where} says; 1 images that it does not name are trained on"


def pair(name, group="", blank=False):
    return Pair(name, f"digest {name}", lambda: None, group=group, blank=blank)


def test_something_to_find_is_on_both_sides_of_every_split():
    pairs = [pair(f"blank{i}", blank=True) for i in range(10)] + [pair("a"), pair("b")]
    for seed in range(20):
        train, test = hold_out(pairs, seed=seed)
        assert {one.name for one in train if not one.blank}
        assert {one.name for one in test if not one.blank}
        assert len(test) == 2


def test_one_group_alone_is_split_by_images():
    train, test = hold_out([pair(str(i), "stack") for i in range(10)])
    assert (len(train), len(test)) == (8, 2)


def test_groups_larger_than_the_share_leave_most_for_training():
    pairs = [pair(f"{g}{i}", g) for g in "ab" for i in range(5)] + [pair(f"c{i}", "c") for i in range(3)]
    for seed in range(5):
        train, test = hold_out(pairs, seed=seed)
        assert {one.group for one in test} == {"c"}
        assert len(train) == 10


def test_the_same_pictures_by_a_second_annotator_are_found(tmp_path):
    write(tmp_path / "a", "pqr")
    write(tmp_path / "b", "xyz", [0, 7, 2])
    for name in "xyz":
        mask = np.asarray(Image.open(tmp_path / f"b/masks/{name}.png")) > 0
        save(tmp_path / f"b/masks/{name}.png", cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0)
    first, second = read_folder(tmp_path / "a").pairs, read_folder(tmp_path / "b").pairs
    assert [(one.name, other.name) for one, other in shared(second, first)] == [("x", "p"), ("z", "r")]
    trained = [KnownImage.of(pair) for pair in first]
    assert [(one.name, name) for one, name in seen_in_training(second, trained)] == [("x", "p"), ("z", "r")]
    assert seen_in_training(second, []) == []
