import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.subset import listed_names, write_subset
from ptsam_auto.errors import ConfigError, DatasetError, OutputError
from tests.data.folders import marking, pairs_folder, picture, save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pairs_folder(Path("set"), "abcd")
    (folder / "splits.json").write_text(json.dumps({"train": ["c", "a", "b"], "test": ["d"], "note": "shuffled"}))
    return folder


def test_the_first_of_a_list_are_copied_byte_for_byte(folder):
    names = write_subset(folder, Path("out"), names=listed_names(folder, "train"), first=2)
    assert names == ("c", "a")
    assert sorted(path.name for path in Path("out").rglob("*.png")) == ["a.png", "a.png", "c.png", "c.png"]
    for file in ("images/a.png", "masks/c.png"):
        assert (Path("out") / file).read_bytes() == (folder / file).read_bytes()


def test_all_images_by_name(folder):
    assert write_subset(folder, Path("out"), first=3) == ("a", "b", "c")
    assert [pair.name for pair in read_folder(Path("out")).pairs] == ["a", "b", "c"]


def test_images_that_are_not_chosen_need_not_be_sound(folder):
    (folder / "images/b.png").write_text("not an image")
    (folder / "masks/d.png").unlink()
    assert write_subset(folder, Path("out"), names=["a", "c"]) == ("a", "c")


def test_pages_of_a_stack_keep_the_pixels_that_were_seen(folder):
    images = np.random.default_rng(0).integers(0, 5000, (6, 12, 16), dtype=np.uint16)
    tifffile.imwrite(folder / "images/s.tif", images)
    tifffile.imwrite(folder / "masks/s.tif", np.stack([marking()] * 6).astype(np.uint8))
    assert write_subset(folder, Path("out"), names=["s_p004", "s_p001"]) == ("s_p004", "s_p001")
    seen = {pair.name: pair.digest for pair in read_folder(folder).pairs}
    for pair in read_folder(Path("out")).pairs:
        assert pair.digest == seen[pair.name]
    assert write_subset(folder, Path("whole"), names=["s"], first=5)[-1] == "s_p004"


def test_outlines_become_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("set/images/a.png"), picture())
    outline = {"image_id": 0, "segmentation": [[2, 2, 8, 2, 8, 5, 2, 5]]}
    image = {"id": 0, "file_name": "a.png", "height": 12, "width": 16}
    Path("set/coco.json").write_text(json.dumps({"images": [image], "annotations": [outline]}))
    write_subset(Path("set"), Path("out"))
    assert read_folder(Path("out")).fingerprint == read_folder(Path("set")).fingerprint


def message(error, function, *arguments, **options):
    with pytest.raises(error) as raised:
        function(*arguments, **options)
    return str(raised.value)


def test_an_unknown_list(folder):
    assert message(DatasetError, listed_names, folder, "trian") == (
        "set/ has 1 problem:\n"
        '  splits.json  no list "trian"; its lists are: train, test\n'
        "Choose one of its lists, then run the command again."
    )


def test_no_lists_at_all(folder):
    (folder / "splits.json").unlink()
    assert message(DatasetError, listed_names, folder, "train") == (
        "set/ has 1 problem:\n"
        '  splits.json  missing; expected a file with a list "train" of image names\n'
        "Fix or remove these files, then run the command again."
    )


def test_names_that_are_not_there(folder):
    assert message(DatasetError, write_subset, folder, Path("out"), names=["a", "x", "yy"]) == (
        "set/ has 2 problems:\n"
        "  x   chosen, but not among the images with masks\n"
        "  yy  chosen, but not among the images with masks\n"
        "Correct the list or add these images, then run the command again."
    )
    assert not Path("out").exists()


def test_finished_work_is_not_overwritten(folder):
    save(Path("out/a.png"), picture())
    assert message(OutputError, write_subset, folder, Path("out")) == (
        "out already holds something; expected an empty or a new folder. Choose another."
    )


def test_a_place_that_cannot_be_written(folder):
    assert message(OutputError, write_subset, folder, folder / "splits.json" / "out") == (
        "set/splits.json/out cannot be written: Not a directory. Choose another folder."
    )


def test_a_subset_of_nothing(folder):
    assert message(ConfigError, write_subset, folder, Path("out"), first=0) == (
        "the number of images is 0; expected at least 1"
    )
