"""The objects of a mask that is too large for memory are those of the mask as a whole, whatever the bands."""

import numpy as np
import pytest
from scipy import ndimage

from ptsam_auto.objects import in_bands
from ptsam_auto.objects.in_bands import finished_objects
from ptsam_auto.objects.separation import NOT_LEARNED, ObjectSettings, separated_classes


def blobs(seed, shape=(230, 150), share=0.45):
    """A mask of smooth shapes of all sizes, with holes; many touch each other or the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return (noise > np.quantile(noise, 1 - share)).astype(np.uint8)


def together(mask, classes=0, settings=NOT_LEARNED):
    """Return the objects of a mask that is given in bands, as one image, and all parts."""
    parts = list(
        finished_objects(lambda h: (mask[i : i + h] for i in range(0, len(mask), h)), mask.shape[1], classes, settings)
    )
    return np.concatenate([part.rows for part in parts]), parts


def same_objects(labels, others):
    """Whether two label images differ in the numbers of their objects only."""
    pairs = np.unique(np.stack([labels.ravel(), others.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(labels)) == len(np.unique(others))


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("settings", [NOT_LEARNED, ObjectSettings(40, 25)])
@pytest.mark.parametrize("share", [0.1, 0.45])
def test_bands_give_the_objects_of_the_whole_mask(monkeypatch, rows, settings, share):
    monkeypatch.setattr(in_bands, "AT_ONCE", rows * 150)
    mask = blobs(rows, share=share)
    labels, parts = together(mask, settings=settings)
    whole, _ = separated_classes(mask, 0, settings)
    assert labels.shape == mask.shape
    assert whole.max() > 10
    assert same_objects(labels, whole)
    assert not any(part.cut for part in parts)


def test_classes_are_separated_independently_in_bands_too(monkeypatch):
    monkeypatch.setattr(in_bands, "AT_ONCE", 40 * 150)
    mask = blobs(1) + blobs(2, share=0.2) * blobs(1)
    settings = ObjectSettings(20, 20)
    labels, parts = together(mask, 2, settings)
    whole, class_of = separated_classes(mask, 2, settings)
    assert same_objects(labels, whole)
    of_parts = {part.before + place: of for part in parts for place, of in enumerate(part.class_of, start=1)}
    pairs = np.unique(np.stack([labels.ravel(), whole.ravel()]), axis=1).T
    assert {1, 2} == set(class_of)
    assert all(of_parts[ours] == class_of[theirs - 1] for ours, theirs in pairs if ours)


def test_few_rows_wait_where_objects_are_small(monkeypatch):
    monkeypatch.setattr(in_bands, "AT_ONCE", 10 * 60)
    mask = np.zeros((1000, 60), np.uint8)
    mask[5::20, 10:50] = mask[6::20, 10:50] = 1
    labels, parts = together(mask)
    assert max(len(part.labels) for part in parts) <= 20
    assert labels.max() == 50


def test_a_layer_without_gaps_is_not_cut_where_memory_ends(monkeypatch):
    """Cells that all touch are one connected part, from the first row to the last."""
    monkeypatch.setattr(in_bands, "AT_ONCE", 20 * 90)
    monkeypatch.setattr(in_bands, "MOST", 100 * 90)
    rows, columns = np.mgrid[:600, :90]
    mask = ((rows % 15 - 7) ** 2 + (columns % 15 - 7) ** 2 < 8.2**2).astype(np.uint8)  # each touches four others
    assert ndimage.label(mask)[1] == 1
    labels, parts = together(mask)
    whole, _ = separated_classes(mask, 0, NOT_LEARNED)
    assert whole.max() == 40 * 6
    assert not any(part.cut for part in parts)
    assert len(parts) > 5
    same = sum(len(np.unique(labels[whole == number])) == 1 for number in range(1, whole.max() + 1))
    assert (labels.max(), same > 0.95 * whole.max()) == (whole.max(), True)


def test_an_object_that_is_too_tall_for_memory_is_cut_and_counted(monkeypatch):
    monkeypatch.setattr(in_bands, "AT_ONCE", 10 * 30)
    monkeypatch.setattr(in_bands, "MOST", 100 * 30)
    mask = np.zeros((300, 30), np.uint8)
    mask[20:280, 10:20] = 1
    labels, parts = together(mask)
    assert ((labels > 0) == (mask > 0)).all()
    assert sum(part.cut for part in parts) == 2
    assert len(np.unique(labels)) == 1 + 3
