"""Which images are held out: a fixed share that no training ever sees (PTSAM, Sec. 4.1.2)."""

import hashlib
import math
from collections.abc import Sequence

from ptsam_auto.data.dataset import Pair
from ptsam_auto.errors import ConfigError


def hold_out(pairs: Sequence[Pair], fraction: float = 0.2, seed: int = 0) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return training pairs and test pairs.

    Each pair is ranked by a hash of its contents and the seed; the lowest ranks are the test set. File
    names and order therefore do not matter, and pairs added later mostly leave the others where they are.
    Both parts come in the order of their ranks, so the first n training pairs are a random sample.

    Args:
        pairs: a dataset's, with distinct contents.
        fraction: the test share, in [0, 1), rounded to whole images. Above 0 it is at least one image and
            leaves at least one for training; a single pair is for training.
        seed: another seed, another split.

    Raises:
        ConfigError: fraction is outside its range.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"the held-out fraction is {fraction}; expected at least 0 and below 1")
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(f"{seed} {pair.digest}".encode()).digest())
    count = min(max(1, math.floor(fraction * len(ranked) + 0.5)), len(ranked) - 1) if fraction and ranked else 0
    return tuple(ranked[count:]), tuple(ranked[:count])
