from dataclasses import replace

import numpy as np
import pytest

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.split import assigned, cross_folds, hold_out, sample_of
from ptsam_auto.errors import ConfigError


def pairs(count, prefix=""):
    return [Pair(f"{prefix}{i}", f"digest {i}", lambda: None) for i in range(count)]


def digests(part):
    return [pair.digest for pair in part]


def test_the_split_ignores_names_and_order():
    first, second = hold_out(pairs(20)), hold_out(pairs(20, "renamed")[::-1])
    assert [digests(part) for part in first] == [digests(part) for part in second]


def test_the_split_is_a_partition_and_depends_on_the_seed():
    train, test = hold_out(pairs(20))
    assert sorted(digests(train) + digests(test)) == sorted(digests(pairs(20)))
    assert digests(test) != digests(hold_out(pairs(20), seed=1)[1])


@pytest.mark.parametrize(
    ("count", "fraction", "held_out"),
    [
        (0, 0.2, 0),
        (1, 0.2, 0),
        (2, 0.2, 1),
        (2, 0.9, 1),
        (5, 0.2, 1),
        (16, 0.2, 3),
        (24, 0.2, 5),
        (100, 0.2, 20),
        (9, 0, 0),
    ],
)
def test_the_size_of_the_test_set(count, fraction, held_out):
    train, test = hold_out(pairs(count), fraction)
    assert (len(train), len(test)) == (count - held_out, held_out)


def test_an_image_that_is_added_hardly_disturbs_the_others():
    before, after = hold_out(pairs(40))[1], hold_out(pairs(41))[1]
    assert len(set(digests(before)) & set(digests(after))) >= 7


def test_a_share_of_everything_is_refused():
    with pytest.raises(ConfigError) as raised:
        hold_out(pairs(3), 1.0)
    assert str(raised.value) == "the held-out fraction is 1.0; expected at least 0 and below 1"


def grouped(sizes, blank=()):
    """Pairs of groups with these sizes; the groups in `blank` have no foreground."""
    return [
        Pair(f"{group}-{i}", f"digest {group} {i}", lambda: None, group=str(group), blank=group in blank)
        for group, size in enumerate(sizes)
        for i in range(size)
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "sizes"), [(16, [4, 4, 4, 4]), (6, [2, 2, 1, 1]), (3, [1, 1, 1]), (1, [1])])
def test_every_image_is_in_exactly_one_fold(count, sizes, seed):
    folds = cross_folds(pairs(count), 4, seed)
    assert sorted(map(len, folds), reverse=True) == sizes
    assert sorted(index for fold in folds for index in fold) == list(range(count))


@pytest.mark.parametrize("count", [0, 1])
def test_without_folds_nothing_is_divided(count):
    assert cross_folds(pairs(3), count) == ((0, 1, 2),)


def test_folds_ignore_names_and_order_and_depend_on_the_seed():
    def contents(given, seed=0):
        return [{given[index].digest for index in fold} for fold in cross_folds(given, 4, seed)]

    assert contents(pairs(20)) == contents(pairs(20, "renamed")[::-1])
    assert contents(pairs(20)) != contents(pairs(20), seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_never_divided_between_folds(seed):
    given = grouped([5, 3, 1, 1, 1, 2, 3])
    folds = cross_folds(given, 4, seed)
    of_fold = [{given[index].group for index in fold} for fold in folds]
    assert sum(map(len, of_fold)) == 7, "a group is in one fold only"
    assert sorted(map(len, folds)) == [3, 4, 4, 5], "about equally large"


def test_fewer_groups_than_folds_make_fewer_folds_and_one_group_is_divided():
    assert len(cross_folds(grouped([3, 3]), 4)) == 2
    assert len(cross_folds(grouped([6]), 4)) == 4, "else there would be no cross-fitting at all"


@pytest.mark.parametrize("seed", range(5))
def test_blank_images_are_spread_and_every_training_set_keeps_foreground(seed):
    given = grouped([1] * 8, blank=range(4))
    folds = cross_folds(given, 4, seed)
    assert [sum(given[index].blank for index in fold) for fold in folds] == [1] * 4
    two = grouped([1] * 9, blank=range(7))
    for fold in cross_folds(two, 4, seed):
        assert any(not two[index].blank for index in range(9) if index not in fold)


def test_images_that_the_user_has_assigned_to_a_test_set_are_not_for_training():
    given = [Pair(str(i), f"digest {i}", lambda: None, part="held out" if i < 2 else "") for i in range(5)]
    train, test = assigned(given)
    assert ({pair.name for pair in train}, {pair.name for pair in test}) == ({"2", "3", "4"}, {"0", "1"})
    assert assigned(pairs(3))[1] == ()


def numbered(count, name="slice_", group="", blank=(), step=0.2):
    """Images of a wave that moves by `step` from one to the next."""

    def thumbnail_of(i):
        wave = 100 + 50 * np.sin(np.arange(16) / 2 + step * i * np.arange(1, 17)[:, None] / 4)
        return bytes(wave.astype(np.uint8)).hex()

    return [
        Pair(f"{name}{i}", f"digest {7 * i % 11} {i}", lambda: None, "", thumbnail_of(i), group, blank=i in blank)
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_slices_next_to_what_is_held_out_are_held_out_too(seed):
    """Or a search would choose by images that its trainings have nearly seen."""
    train, test = hold_out(numbered(16), seed=seed)
    numbers = sorted(int(pair.name.removeprefix("slice_")) for pair in test)
    runs = [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [13, 14, 15]]  # about a fifth each
    assert numbers == runs[seed % 5]
    assert len(train) + len(test) == 16


def test_slices_that_are_held_out_have_foreground():
    for seed in range(4):
        _, test = hold_out(numbered(16, blank=range(10)), seed=seed)
        assert any(not pair.blank for pair in test)


def test_slices_next_to_each_other_are_in_one_fold_so_that_the_score_is_not_of_what_was_nearly_seen():
    runs = tuple(tuple(range(first, first + 4)) for first in (0, 4, 8, 12))
    assert cross_folds(numbered(16), 4) == runs, "2 is before 10"
    assert cross_folds(numbered(16, name="p", group="stack.tif"), 4) == runs
    assert cross_folds(list(reversed(numbered(16))), 4) == tuple(
        tuple(range(first, first + 4)) for first in (12, 8, 4, 0)
    )
    assert cross_folds([*numbered(8), *numbered(8, name="other_")], 4) != runs, "two names are no sequence"
    assert cross_folds(numbered(16, step=5), 4) != runs, "neighbours are not alike"
    only = cross_folds(numbered(8, blank=range(2, 8)), 4)
    assert all(not {0, 1} <= set(fold) for fold in only), "every training set has foreground"


def test_a_sample_of_many_images_keeps_groups_together_and_is_the_same_again():
    many = tuple(replace(pair, group=f"patient {i // 5}") for i, pair in enumerate(pairs(100)))
    sample = sample_of(many, 64)
    assert 64 <= len(sample) < 70
    assert {pair.group for pair in sample}.isdisjoint({pair.group for pair in set(many) - set(sample)})
    assert sample == sample_of(tuple(reversed(many)), 64)
    assert sample_of(many, 100) == many
