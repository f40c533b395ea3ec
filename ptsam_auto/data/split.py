"""Splits of a dataset: a fraction that is held out of the training (PTSAM, Sec. 4.1.2), or folds for cross-fitting."""

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.leaks import neighbours_are_alike
from ptsam_auto.errors import ConfigError

HELD_OUT = "held out"


def hold_out(pairs: Sequence[Pair], fraction: float = 0.2, seed: int = 0) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return training pairs and test pairs.

    If the user has assigned pairs to the parts (`Pair.part`), that is the split. Otherwise each group of pairs is
    ranked by a hash of its contents and the seed, and the lowest ranks are the test set. File names and order have no
    effect, and if pairs are added later, most others stay in their part. A group is never in both parts, unless all
    pairs are one group. Of pairs that are one sequence, such as the slices of a volume, a run of neighbours is the test
    set; see `runs_of_neighbours`. Both parts have an image with foreground if there are two groups with foreground.
    Both parts are sorted by rank, so the first n training pairs are a random sample.

    Args:
        pairs: Pairs of a dataset, with distinct contents.
        fraction: Fraction of the test set, in [0, 1), rounded to whole images. If it is above 0, both parts have at
            least one image; a single pair is for training.
        seed: Random seed of the split.

    Raises:
        ConfigError: The fraction is outside its range.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"the held-out fraction is {fraction}; expected at least 0 and below 1")
    ranked = sorted(pairs, key=lambda pair: _rank(pair.digest, seed))
    if fraction and any(pair.part == HELD_OUT for pair in ranked):
        test = tuple(pair for pair in ranked if pair.part == HELD_OUT)
    else:
        count = min(max(1, math.floor(fraction * len(ranked) + 0.5)), len(ranked) - 1) if fraction and ranked else 0
        chosen = {id(pair) for pair in _run_held_out(ranked, count, seed) or _chosen(_groups(ranked, seed), count)}
        test = tuple(pair for pair in ranked if id(pair) in chosen)
    held_out = {id(pair) for pair in test}
    return tuple(pair for pair in ranked if id(pair) not in held_out), test


def assigned(pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return the pairs for training, and those that the user has assigned to the test set (`Pair.part`).

    Both are sorted by content, so renaming files changes nothing.
    """
    ranked = sorted(pairs, key=lambda pair: pair.digest)
    return (
        tuple(pair for pair in ranked if pair.part != HELD_OUT),
        tuple(pair for pair in ranked if pair.part == HELD_OUT),
    )


def sample_of(pairs: Sequence[Pair], most: int, seed: int = 0) -> tuple[Pair, ...]:
    """Return a random sample of complete groups with at least `most` pairs, or all pairs if there are not more.

    Args:
        pairs: Pairs of a dataset, with distinct contents.
        most: Number of pairs from which on no further group is added.
        seed: Random seed.
    """
    if len(pairs) <= most:
        return tuple(pairs)
    sample: list[Pair] = []
    for group in _groups(sorted(pairs, key=lambda pair: _rank(pair.digest, seed)), seed):
        if len(sample) < most:
            sample += group
    return tuple(sample)


def cross_folds(pairs: Sequence[Pair], count: int, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the pairs in each fold; every pair is in exactly one fold.

    A group is never divided between folds, unless all pairs are one group. Larger groups are placed first, each in the
    fold with the fewest pairs, and groups without foreground last, so that the folds are about equally large and every
    training set has foreground if there are two groups with foreground.

    Pairs that are one sequence are divided into runs of neighbours, because a slice of a volume is much like the next
    one; see `runs_of_neighbours`.

    Args:
        pairs: Pairs of a dataset, with distinct contents.
        count: Number of folds; there are fewer if there are fewer groups. 0 is the same as 1: nothing is divided.
        seed: Random seed of the division.
    """
    if runs := runs_of_neighbours(pairs, count):
        return runs
    position = {id(pair): index for index, pair in enumerate(pairs)}
    groups = _groups(sorted(pairs, key=lambda pair: _rank(pair.digest, seed)), seed)
    groups.sort(key=lambda group: (not _marks(group), -len(group)))
    folds: list[list[int]] = [[] for _ in range(min(max(1, count), len(groups)))]
    for group in groups:
        min(folds, key=len).extend(position[id(pair)] for pair in group)
    return tuple(tuple(sorted(fold)) for fold in folds)


def runs_of_neighbours(pairs: Sequence[Pair], count: int) -> tuple[tuple[int, ...], ...]:
    """Return the indices of pairs that are one sequence, such as the slices of a volume, in runs of neighbours.

    In a sequence all pairs are of one group, or have no groups and are numbered after one name; and neighbours look
    alike, see `leaks.neighbours_are_alike`.

    Args:
        pairs: Pairs of a dataset.
        count: Number of runs.

    Returns:
        The runs; () if the pairs are no sequence, or if without one of the runs there is no foreground.
    """
    if count < 2 or not _are_sequence(pairs):
        return ()
    runs = [tuple(sorted(map(int, run))) for run in np.array_split(_in_order(pairs), min(count, len(pairs)))]
    if all(_marks([pair for index, pair in enumerate(pairs) if index not in run]) for run in runs):
        return tuple(runs)
    return ()


def _run_held_out(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """Return about `count` neighbours of pairs that are one sequence; the seed decides which. [] if they are none.

    Both the run and the rest of the sequence have foreground.
    """
    runs = runs_of_neighbours(pairs, len(pairs) // count) if count else ()
    marking = [run for run in runs if _marks([pairs[index] for index in run])]
    return [pairs[index] for index in marking[seed % len(marking)]] if marking else []


def _are_sequence(pairs: Sequence[Pair]) -> bool:
    groups = {pair.group for pair in pairs}
    if len(groups) != 1:
        return False
    is_one_name = len({_numbered(pair.name)[0] for pair in pairs}) == 1
    return (bool(groups.pop()) or is_one_name) and neighbours_are_alike([pairs[index] for index in _in_order(pairs)])


def _in_order(pairs: Sequence[Pair]) -> list[int]:
    """Return the indices of the pairs in the order of their names, with numbers as people count: 2 is before 10."""

    def place(index: int) -> tuple[str, int, str]:
        before, number = _numbered(pairs[index].name)
        return before, -1 if number is None else number, pairs[index].name

    return sorted(range(len(pairs)), key=place)


def _numbered(name: str) -> tuple[str, int | None]:
    """Return a name without the number at its end, and the number; a name without a number is returned as it is."""
    matched = re.fullmatch(r"(.*?)(\d+)", name)
    return (matched[1], int(matched[2])) if matched else (name, None)


def _rank(digest: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {digest}".encode()).digest()


def _groups(ranked: Sequence[Pair], seed: int) -> list[list[Pair]]:
    """Return the groups in the order of their ranks. If all pairs are one group, each pair is a group of its own."""
    groups: dict[str, list[Pair]] = {}
    for pair in ranked:
        groups.setdefault(f"group {pair.group}" if pair.group else f"alone {pair.digest}", []).append(pair)
    if len(groups) == 1:
        return [[pair] for pair in ranked]
    return sorted(groups.values(), key=lambda group: _rank(min(pair.digest for pair in group), seed))


def _chosen(groups: list[list[Pair]], count: int) -> list[Pair]:
    """Return pairs of complete groups, about `count`."""
    if count == 0:
        return []
    held: list[list[Pair]] = []
    for group in groups:
        if sum(map(len, held)) + len(group) <= count:
            held.append(group)
    if not held:  # every group is larger than `count`
        held = [min(groups, key=len)]
    rest = [group for group in groups if group not in held]
    if not any(_marks(group) for group in held):
        held = _with_foreground(groups, held)
    elif not any(_marks(group) for group in rest) and rest:  # foreground is more important in the training set
        held = _without_foreground(held, rest)
    return [pair for group in held for pair in group]


def _with_foreground(groups: list[list[Pair]], held: list[list[Pair]]) -> list[list[Pair]]:
    """Replace the last group by the first one with foreground, if the training set keeps another one."""
    marking = [group for group in groups if _marks(group)]
    if len(marking) < 2:
        return held
    return [*held[:-1], marking[0]]


def _without_foreground(held: list[list[Pair]], rest: list[list[Pair]]) -> list[list[Pair]]:
    """Move the last group with foreground to the training set, in exchange for its first group."""
    marking = [group for group in held if _marks(group)]
    return [*(group for group in held if group is not marking[-1]), rest[0]]


def _marks(group: Sequence[Pair]) -> bool:
    return any(not pair.blank for pair in group)
