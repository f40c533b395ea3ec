import time

import cv2
import numpy as np
import pytest

from nano.scenes.scene import SCENE_TYPES, render_scene
from ptsam_auto.errors import ConfigError


@pytest.mark.parametrize("scene_type", SCENE_TYPES)
def test_a_scene_carries_instances_and_their_kinds(scene_type):
    kinds = set()
    for seed in range(4):
        scene = render_scene(seed, 128, scene_type)
        assert scene.scene_type == scene_type
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
    assert len({render_scene(seed, 64).scene_type for seed in range(60)}) > len(SCENE_TYPES) // 2
    assert not np.array_equal(render_scene(8, 96, "dic").image, render_scene(9, 96, "dic").image)


def test_membranes_are_one_thin_instance_and_cells_are_others():
    scene = render_scene(2, 256, "electron")
    assert (scene.kinds == 1).sum() == 1
    assert (scene.kinds == 2).sum() > 5
    membrane = scene.labels == np.flatnonzero(scene.kinds == 1)[0]
    assert cv2.distanceTransform(membrane.astype(np.uint8), cv2.DIST_L2, 3).max() < 12


def test_a_scene_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError) as caught:
        render_scene(0, 64, "weather")
    assert str(caught.value) == f"No scene type is called 'weather'; there are {', '.join(SCENE_TYPES)}."
    with pytest.raises(ConfigError, match=r"^A scene is at least 48 px wide; found 32\.$"):
        render_scene(0, 32)


def test_scenes_are_drawn_fast_enough_to_feed_training():
    start = time.perf_counter()
    for seed in range(20):
        render_scene(seed, 256)
    assert (time.perf_counter() - start) / 20 < 0.2  # about 0.03 s on an idle core; others share ours
