import pytest

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.split import hold_out
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
