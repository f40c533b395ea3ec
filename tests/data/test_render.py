import time

import cv2
import numpy as np
import pytest

from ptsam_auto.data.render import EXAMPLE_SIZE, FAMILIES, render_example, render_scene, write_example
from ptsam_auto.errors import ConfigError, OutputError


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
    assert str(caught.value) == f"{tmp_path} is not empty; name a new folder for the example set."


def test_write_example_says_why_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        write_example(tmp_path / "file" / "set")
    assert str(caught.value) == f"{tmp_path}/file/set cannot be written to: Not a directory. Name another folder."


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_carries_instances_and_their_kinds(family):
    kinds = set()
    for seed in range(4):
        scene = render_scene(seed, 128, family)
        assert scene.family == family
        assert scene.image.shape == (128, 128, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.std() > 2
        present = np.unique(scene.labels)
        assert set(present) | {0} == set(range(len(scene.kinds)))
        assert scene.kinds[0] == 0
        assert (scene.kinds[1:] > 0).all()
        assert np.bincount(scene.labels.ravel())[1:].min(initial=12) >= 12
        kinds |= set(scene.kinds[1:].tolist())
    assert kinds


def test_scenes_repeat_by_seed_and_differ_between_seeds():
    first, again = render_scene(7, 96), render_scene(7, 96)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert len({render_scene(seed, 64).family for seed in range(60)}) > len(FAMILIES) // 2
    assert not np.array_equal(render_scene(8, 96, "dic").image, render_scene(9, 96, "dic").image)


def test_membranes_are_one_thin_instance_beside_their_cells():
    scene = render_scene(2, 256, "electron")
    assert (scene.kinds == 1).sum() == 1
    assert (scene.kinds == 2).sum() > 5
    membrane = scene.labels == np.flatnonzero(scene.kinds == 1)[0]
    assert cv2.distanceTransform(membrane.astype(np.uint8), cv2.DIST_L2, 3).max() < 12


def test_a_scene_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError) as caught:
        render_scene(0, 64, "weather")
    assert str(caught.value) == f"No scene family is called 'weather'; there are {', '.join(FAMILIES)}."
    with pytest.raises(ConfigError, match=r"^A scene is at least 48 px wide; found 32\.$"):
        render_scene(0, 32)


def test_scenes_are_drawn_fast_enough_to_feed_training():
    start = time.perf_counter()
    for seed in range(20):
        render_scene(seed, 256)
    assert (time.perf_counter() - start) / 20 < 0.2  # about 0.03 s on an idle core; others share ours
