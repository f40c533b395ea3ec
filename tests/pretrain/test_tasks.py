from dataclasses import replace

import cv2
import numpy as np
import pytest

from ptsam_auto.pretrain.batches import Steps, asking, batches, collate, halved, vocabulary
from ptsam_auto.pretrain.filters import FILTERS, filtered
from ptsam_auto.pretrain.sources import OUTLINE, Regions, Scenes
from ptsam_auto.pretrain.tasks import (
    box_task,
    click_task,
    concept_tasks,
    filter_tasks,
    group_task,
    look_tasks,
    outline,
    tasks,
)
from ptsam_auto.pretrain.views import LARGEST_ENLARGEMENT, cropped, scaled, view
from tests.pretrain.scenery import TwoScenes, scene_regions

FAMILIES = ["fluorescence", "electron", "cracks", "particles"]


def hit(task):
    columns, rows = task.points.astype(int).T
    return task.answer[rows, columns]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(6))
def test_clicks_lie_where_they_say(family, seed):
    rng = np.random.default_rng(seed)
    for task in tasks(rng, view(rng, scene_regions(seed, 96, family), 96)):
        if task.asked != "box":
            np.testing.assert_array_equal(hit(task), task.roles == 1)


def test_a_box_surrounds_its_region():
    mask = np.zeros((50, 60), bool)
    mask[10:20, 5:45] = True
    tight = box_task(np.random.default_rng(0), mask, jitter=0)
    np.testing.assert_array_equal(tight.points, [[5, 10], [45, 20]])
    np.testing.assert_array_equal(tight.roles, [2, 3])
    loose = box_task(np.random.default_rng(0), mask)
    assert np.abs(loose.points - tight.points).max() <= 0.15 * 40
    assert click_task(np.random.default_rng(0), mask, 3).asked == "clicks"


def test_a_group_is_all_of_a_kind_from_clicks_on_different_ones():
    regions = scene_regions(1, 128, "particles")
    seen = set()
    for seed in range(60):
        task = group_task(np.random.default_rng(seed), regions)
        if task is None:
            continue
        kind = regions.kinds[regions.labels]
        whole = [k for k in np.unique(kind) if np.array_equal(task.answer, kind == k)]
        seen.add(whole[0] if whole else "outline")
        if whole and whole[0] > 0:
            positive = task.points[task.roles == 1].astype(int)
            objects = regions.labels[positive[:, 1], positive[:, 0]]
            assert len(set(objects)) == min(len(objects), (regions.kinds == whole[0]).sum())
        assert 1 <= (task.roles == 1).sum() <= 7
        assert (task.roles == 0).sum() <= 5
    assert {0, 1, "outline"} <= seen


def test_a_concept_is_all_that_its_name_stands_for():
    regions = scene_regions(1, 128, "electron")
    kind = regions.kinds[regions.labels]
    seen = set()
    for seed in range(40):
        found = concept_tasks(np.random.default_rng(seed), regions)
        assert len({task.concept for task in found}) == len(found) == 2
        for task in found:
            family, name = task.concept.split("/")
            expected = outline(regions.labels) if name == "outline" else kind == int(name)
            np.testing.assert_array_equal(task.answer, expected)
            assert (family, len(task.points), len(task.roles)) == ("electron", 0, 0)
            seen.add(name)
    assert {"1", "2", "outline"} <= seen <= {"1", "2", "3", "4", "outline"}


def test_an_image_without_concepts_is_asked_for_none():
    regions = scene_regions(1, 128, "electron")
    assert concept_tasks(np.random.default_rng(0), replace(regions, concepts={})) == []
    partition = replace(regions, kinds=None, concepts={"photos/outline": OUTLINE})
    (task,) = concept_tasks(np.random.default_rng(0), partition)
    np.testing.assert_array_equal(task.answer, outline(regions.labels))


def test_filters_see_what_they_are_called_after():
    image = np.full((96, 96, 3), 100, np.uint8)
    image[20:23] = 40  # a dark line
    image[60:80, 60:80] = (60, 140, 60)  # a green square
    for name, inside in (("dark ridge, fine", np.s_[21, 5:90]), ("green", np.s_[62:78, 62:78])):
        seen = filtered(image, f"filter/{name}")
        assert seen[inside].all(), name
        assert seen.mean() < 0.15, name
    assert not filtered(image, "filter/green")[:50].any()
    grey = np.repeat(image[..., :1], 3, axis=2)
    assert filtered(grey, "filter/green") is None, "no colour, no answer"


def test_every_filter_answers_somewhere_in_some_scene():
    images = [scene_regions(seed, 128, family).image for seed, family in enumerate(("field", "electron", "tissue"))]
    for name in FILTERS:
        assert any((seen := filtered(image, name)) is not None and 0.01 < seen.mean() < 0.5 for image in images), name


def test_an_image_where_nothing_stands_out_is_asked_for_no_filter():
    flat = Regions(np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), np.int32), None, False)
    for seed in range(30):
        assert filter_tasks(np.random.default_rng(seed), flat) == []


def test_a_look_is_told_from_another_by_clicks():
    image = np.full((96, 96, 3), (120, 110, 90), np.uint8)
    image[30:70, 20:60] = (60, 140, 60)
    green = np.zeros((96, 96), bool)
    green[30:70, 20:60] = True
    regions = Regions(image, np.ones((96, 96), np.int32), None, False)
    found = [task for seed in range(40) for task in look_tasks(np.random.default_rng(seed), regions)]
    assert len(found) > 20
    for task in found:
        np.testing.assert_array_equal(hit(task), task.roles == 1)
        assert {0, 1} == set(task.roles)
    assert any((task.answer == green).mean() > 0.97 for task in found), "the square as a whole"
    flat = Regions(np.full((64, 64, 3), 90, np.uint8), np.ones((64, 64), np.int32), None, False)
    assert look_tasks(np.random.default_rng(0), flat) == []


def test_an_outline_is_asked_for_with_objects_ruled_out():
    regions = scene_regions(1, 128, "fluorescence")
    border = outline(regions.labels)
    assert 0.01 < border.mean() < 0.5
    for seed in range(80):
        task = group_task(np.random.default_rng(seed), regions)
        if task is not None and np.array_equal(task.answer, border):
            rows, columns = task.points[task.roles == 0].astype(int).T[::-1]
            assert (regions.labels[rows, columns] > 0).sum() >= 2


@pytest.mark.parametrize(("kinds", "known"), [(None, False), (np.array([0, 1]), False)])
def test_no_group_where_ground_or_kinds_are_unknown(kinds, known):
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 10:30] = 1
    regions = Regions(np.zeros((64, 64, 3), np.uint8), labels, kinds, known)
    for seed in range(10):
        asked = [task.asked for task in tasks(np.random.default_rng(seed), regions)]
        assert len(asked) == 4, "of a black image no filter sees anything"
        assert "group" not in asked


def test_nothing_is_asked_about_an_empty_image():
    regions = Regions(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32), None, False)
    assert tasks(np.random.default_rng(0), regions) == []


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
    half = halved(mask, 24)
    assert half.shape == (24, 24)
    np.testing.assert_array_equal(half.sum(1), [1] * 20 + [0] * 4)


def test_a_batch_depends_on_seed_and_step_only():
    steps = Steps(Scenes(), seed=5, batch=2, size=64)
    first, again, other = steps[7], steps[7], steps[8]
    assert first.images.equal(again.images)
    assert first.questions.keys() == again.questions.keys()
    for asked, questions in first.questions.items():
        assert questions.points.equal(again.questions[asked].points)
        assert questions.answers.equal(again.questions[asked].answers)
    assert not first.images.equal(other.images)


@pytest.mark.slow
def test_batches_are_drawn_ahead_after_opencv_ran_in_this_process():
    # A forked process hung for ever in cv2.setNumThreads once its parent had used OpenCV's threads.
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 5)
    steps = Steps(Scenes(), seed=5, batch=1, size=64)
    ahead = list(batches(steps, 3, 5, workers=1))
    assert [batch.images.equal(steps[step].images) for step, batch in zip((3, 4), ahead, strict=True)] == [True, True]


def test_a_batch_says_where_there_is_image():
    regions = scaled(Regions(np.full((50, 100, 3), 9, np.uint8), np.ones((50, 100), np.int32), None, False), 64)
    item = asking(TwoScenes(), 0, 0, 0, 64)
    batch = collate([item, type(item)(regions, tasks(np.random.default_rng(0), regions))], 64, vocabulary(TwoScenes()))
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.inside[1, :16].all()
    assert not batch.inside[1, 16:].any()
    assert (batch.images[1, :, 32:] == 0).all()
    for questions in batch.questions.values():
        assert len(questions.image) == len(questions.points) == len(questions.answers)
