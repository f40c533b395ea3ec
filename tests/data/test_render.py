import hashlib

import cv2
import numpy as np
import pytest

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.render import EXAMPLE_SIZE, render_example, write_example
from ptsam_auto.errors import OutputError


def dice(predicted, mask):
    return 2 * (predicted & mask).sum() / max(predicted.sum() + mask.sum(), 1)


def test_an_example_is_a_sample_and_the_same_each_time():
    first, again, other = render_example(3), render_example(3), render_example(3, seed=1)
    assert first.name == "example_03"
    assert first.image.shape == (EXAMPLE_SIZE, EXAMPLE_SIZE, 3)
    assert first.image.dtype == np.uint8
    assert first.mask.dtype == bool
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_the_example_images_never_change():
    # The README's scores are of these pixels. OpenCV or NumPy may change them with a release; then measure anew.
    sample = render_example(3)
    pixels = hashlib.sha256(sample.image.tobytes() + sample.mask.tobytes()).hexdigest()
    assert pixels == "0cce5f1ae48bcb305b1436ca524fa2a53ecde64f9637df66934db2b6b9e3ed6a"


def test_otsu_fails_on_the_example_set():
    bright, dark = [], []
    for index in range(24):
        sample = render_example(index)
        above = cv2.threshold(sample.image[..., 0], 0, 1, cv2.THRESH_OTSU)[1].astype(bool)
        bright.append(dice(above, sample.mask))
        dark.append(dice(~above, sample.mask))
        assert 0.1 < sample.mask.mean() < 0.5
    assert np.mean(bright) < 0.6
    assert np.mean(dark) < 0.6


def test_write_example_writes_pairs_of_pngs(tmp_path):
    write_example(tmp_path / "new" / "set", count=2)
    folder = tmp_path / "new" / "set"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == [
        "images/example_00.png",
        "images/example_01.png",
        "masks/example_00.png",
        "masks/example_01.png",
    ]
    mask = cv2.imread(str(folder / "masks" / "example_01.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask > 0, render_example(1).mask)


def test_write_example_refuses_a_folder_in_use(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OutputError) as caught:
        write_example(tmp_path)
    assert str(caught.value) == f"{tmp_path} is not empty; choose a new folder for the example dataset."


def test_write_example_says_why_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        write_example(tmp_path / "file" / "set")
    assert str(caught.value) == f"{tmp_path}/file/set cannot be written to: Not a directory. Choose another folder."


def test_with_classes_the_coco_file_says_what_was_rendered(tmp_path):
    write_example(tmp_path / "set", count=2, classes=True)
    dataset = read_folder(tmp_path / "set", ReadingOptions(classes=True))
    assert dataset.classes == ("cell", "debris", "speck")
    sample = render_example(1, classes=True)
    assert np.array_equal(dataset.pairs[1].load().mask, sample.mask)
    assert np.array_equal(sample.mask == 1, render_example(1).mask)
