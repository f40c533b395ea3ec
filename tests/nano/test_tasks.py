from dataclasses import replace

import cv2
import numpy as np
import pytest

from nano.batches import StepBatches, batches, collate, draw_prompted_image, half_size, vocabulary
from nano.filters import FILTERS, filter_mask
from nano.sources import OUTLINE, Regions, Scenes
from nano.tasks import (
    appearance_tasks,
    box_task,
    click_task,
    concept_tasks,
    draw_tasks,
    filter_tasks,
    group_task,
    outline,
)
from nano.views import LARGEST_ENLARGEMENT, cropped, scaled, view
from tests.nano.scenery import TwoScenes, scene_regions

TYPES = ["fluorescence", "electron", "cracks", "particles"]


def hit(task):
    columns, rows = task.points.astype(int).T
    return task.target[rows, columns]


@pytest.mark.parametrize("scene_type", TYPES)
@pytest.mark.parametrize("seed", range(6))
def test_clicks_lie_where_they_say(scene_type, seed):
    rng = np.random.default_rng(seed)
    for task in draw_tasks(rng, view(rng, scene_regions(seed, 96, scene_type), 96)):
        if task.prompt_type != "box":
            np.testing.assert_array_equal(hit(task), task.roles == 1)


def test_a_box_surrounds_its_region():
    mask = np.zeros((50, 60), bool)
    mask[10:20, 5:45] = True
    tight = box_task(np.random.default_rng(0), mask, jitter=0)
    np.testing.assert_array_equal(tight.points, [[5, 10], [45, 20]])
    np.testing.assert_array_equal(tight.roles, [2, 3])
    loose = box_task(np.random.default_rng(0), mask)
    assert np.abs(loose.points - tight.points).max() <= 0.15 * 40
    assert click_task(np.random.default_rng(0), mask, 3).prompt_type == "clicks"


def test_a_group_is_all_of_a_kind_from_clicks_on_different_ones():
    regions = scene_regions(1, 128, "particles")
    seen = set()
    for seed in range(60):
        task = group_task(np.random.default_rng(seed), regions)
        if task is None:
            continue
        kind = regions.kinds[regions.labels]
        whole = [k for k in np.unique(kind) if np.array_equal(task.target, kind == k)]
        seen.add(whole[0] if whole else "outline")
        if whole and whole[0] > 0:
            positive = task.points[task.roles == 1].astype(int)
            objects = regions.labels[positive[:, 1], positive[:, 0]]
            assert len(set(objects)) == min(len(objects), (regions.kinds == whole[0]).sum())
        assert 1 <= (task.roles == 1).sum() <= 7
        assert (task.roles == 0).sum() <= 5
    assert {0, 1, "outline"} <= seen


def test_a_concept_task_covers_all_objects_of_its_kind():
    regions = scene_regions(1, 128, "electron")
    kind = regions.kinds[regions.labels]
    seen = set()
    for seed in range(40):
        found = concept_tasks(np.random.default_rng(seed), regions)
        assert len({task.concept for task in found}) == len(found) == 2
        for task in found:
            scene_type, name = task.concept.split("/")
            expected = outline(regions.labels) if name == "outline" else kind == int(name)
            np.testing.assert_array_equal(task.target, expected)
            assert (scene_type, len(task.points), len(task.roles)) == ("electron", 0, 0)
            seen.add(name)
    assert {"1", "2", "outline"} <= seen <= {"1", "2", "3", "4", "outline"}


def test_an_image_without_concepts_has_no_concept_task():
    regions = scene_regions(1, 128, "electron")
    assert concept_tasks(np.random.default_rng(0), replace(regions, concepts={})) == []
    partition = replace(regions, kinds=None, concepts={"photos/outline": OUTLINE})
    (task,) = concept_tasks(np.random.default_rng(0), partition)
    np.testing.assert_array_equal(task.target, outline(regions.labels))


def test_a_concept_of_kinds_has_no_task_where_kinds_are_not_known():
    # This once ended in an UnboundLocalError, or gave the concept the target of the concept before it.
    unknown = replace(scene_regions(1, 128, "electron"), kinds=None)
    for seed in range(20):
        found = concept_tasks(np.random.default_rng(seed), unknown)
        assert [task.concept for task in found] == ["electron/outline"]
    assert concept_tasks(np.random.default_rng(0), replace(unknown, concepts={"electron/1": frozenset({1})})) == []


def test_filters_respond_to_what_their_names_say():
    image = np.full((96, 96, 3), 100, np.uint8)
    image[20:23] = 40  # a dark line
    image[60:80, 60:80] = (60, 140, 60)  # a green square
    for name, inside in (("dark ridge, fine", np.s_[21, 5:90]), ("green", np.s_[62:78, 62:78])):
        seen = filter_mask(image, f"filter/{name}")
        assert seen[inside].all(), name
        assert seen.mean() < 0.15, name
    assert not filter_mask(image, "filter/green")[:50].any()
    grey = np.repeat(image[..., :1], 3, axis=2)
    assert filter_mask(grey, "filter/green") is None, "a grey image has no green"


def test_every_filter_responds_somewhere_in_some_scene():
    images = [
        scene_regions(seed, 128, scene_type).image for seed, scene_type in enumerate(("field", "electron", "tissue"))
    ]
    for name in FILTERS:
        assert any((seen := filter_mask(image, name)) is not None and 0.01 < seen.mean() < 0.5 for image in images), (
            name
        )


def test_a_uniform_image_has_no_filter_task():
    flat = Regions(np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), np.int32), None, False)
    for seed in range(30):
        assert filter_tasks(np.random.default_rng(seed), flat) == []


def test_clicks_say_which_appearance_is_the_target():
    image = np.full((96, 96, 3), (120, 110, 90), np.uint8)
    image[30:70, 20:60] = (60, 140, 60)
    green = np.zeros((96, 96), bool)
    green[30:70, 20:60] = True
    regions = Regions(image, np.ones((96, 96), np.int32), None, False)
    found = [task for seed in range(40) for task in appearance_tasks(np.random.default_rng(seed), regions)]
    assert len(found) > 20
    for task in found:
        np.testing.assert_array_equal(hit(task), task.roles == 1)
        assert {0, 1} == set(task.roles)
    assert any((task.target == green).mean() > 0.97 for task in found), "the square as a whole"
    flat = Regions(np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), np.int32), None, False)
    assert appearance_tasks(np.random.default_rng(0), flat) == []


def test_an_outline_task_excludes_the_objects_by_negative_clicks():
    regions = scene_regions(1, 128, "fluorescence")
    border = outline(regions.labels)
    assert 0.01 < border.mean() < 0.5
    for seed in range(80):
        task = group_task(np.random.default_rng(seed), regions)
        if task is not None and np.array_equal(task.target, border):
            rows, columns = task.points[task.roles == 0].astype(int).T[::-1]
            assert (regions.labels[rows, columns] > 0).sum() >= 2


@pytest.mark.parametrize(("kinds", "known"), [(None, False), (np.array([0, 1]), False)])
def test_no_group_where_ground_or_kinds_are_unknown(kinds, known):
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 10:30] = 1
    regions = Regions(np.zeros((64, 64, 3), np.uint8), labels, kinds, known)
    for seed in range(10):
        types = [task.prompt_type for task in draw_tasks(np.random.default_rng(seed), regions)]
        assert len(types) == 4, "no filter responds to a black image"
        assert "group" not in types


def test_an_empty_image_has_no_tasks():
    regions = Regions(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32), None, False)
    assert draw_tasks(np.random.default_rng(0), regions) == []


def test_a_view_keeps_image_and_labels_together():
    labels = np.zeros((200, 300), np.int32)
    labels[60:140, 100:220] = 1
    image = (labels[..., None] * 200).repeat(3, 2).astype(np.uint8)
    for seed in range(20):
        seen = view(np.random.default_rng(seed), Regions(image, labels, None, False), 96)
        assert max(seen.labels.shape) == 96
        assert seen.image.shape == (*seen.labels.shape, 3)
        light = seen.image.astype(float).mean(2)
        inside, outside = light[seen.labels == 1], light[seen.labels == 0]
        assert not len(outside) or abs(np.median(inside) - np.median(outside)) > 60


def test_small_images_are_not_enlarged_more_than_they_must():
    regions = Regions(np.zeros((100, 100, 3), np.uint8), np.ones((100, 100), np.int32), None, False)
    for seed in range(10):
        assert max(cropped(np.random.default_rng(seed), regions, 140).labels.shape) >= 140 // LARGEST_ENLARGEMENT


def test_thin_structures_survive_halving():
    mask = np.zeros((40, 30), bool)
    mask[:, 10:12] = True
    half = half_size(mask, 24)
    assert half.shape == (24, 24)
    np.testing.assert_array_equal(half.sum(1), [1] * 20 + [0] * 4)


def test_a_batch_depends_on_seed_and_step_only():
    steps = StepBatches(Scenes(), seed=5, batch=2, size=64)
    first, again, other = steps[7], steps[7], steps[8]
    assert first.images.equal(again.images)
    assert first.prompts.keys() == again.prompts.keys()
    for prompt_type, prompts in first.prompts.items():
        assert prompts.points.equal(again.prompts[prompt_type].points)
        assert prompts.targets.equal(again.prompts[prompt_type].targets)
    assert not first.images.equal(other.images)


@pytest.mark.slow
def test_batches_are_drawn_ahead_after_opencv_ran_in_this_process():
    # A forked process hung for ever in cv2.setNumThreads once its parent had used OpenCV's threads.
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 5)
    steps = StepBatches(Scenes(), seed=5, batch=1, size=64)
    ahead = list(batches(steps, 3, 5, workers=1))
    assert [batch.images.equal(steps[step].images) for step, batch in zip((3, 4), ahead, strict=True)] == [True, True]


def test_a_batch_says_where_there_is_image():
    regions = scaled(Regions(np.full((50, 100, 3), 9, np.uint8), np.ones((50, 100), np.int32), None, False), 64)
    item = draw_prompted_image(TwoScenes(), 0, 0, 0, 64)
    batch = collate(
        [item, type(item)(regions, draw_tasks(np.random.default_rng(0), regions))], 64, vocabulary(TwoScenes())
    )
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.inside[1, :16].all()
    assert not batch.inside[1, 16:].any()
    assert (batch.images[1, :, 32:] == 0).all()
    for prompts in batch.prompts.values():
        assert len(prompts.image) == len(prompts.points) == len(prompts.targets)
