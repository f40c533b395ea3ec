"""A large image as overlapping tiles, each of which the network sees at its full input size."""

# H W  an image's own size, px  t  a tile's side, px of the image

import math

import numpy as np

OVERLAP = 0.2  # of a tile's side, at least; there both tiles' answers are blended
MOST_ENLARGED = 2  # there is nothing more to see in an image blown up further

Box = tuple[slice, slice]


def tile_side(height: int, width: int, per_side: int, image_size: int) -> int:
    """How much of an image one tile shows, px of the image; the whole longer side where tiling would not help.

    Args:
        height: H.
        width: W.
        per_side: tiles along the longer side, at least 1.
        image_size: S, the network's input side in px; a tile is enlarged to it, but at most twofold.
    """
    longest = max(height, width)
    side = math.ceil(longest / (per_side - (per_side - 1) * OVERLAP))
    return min(longest, max(side, image_size // MOST_ENLARGED))


def tiles(height: int, width: int, per_side: int, image_size: int) -> list[Box]:
    """Boxes that cover the image, each at most `tile_side` long, evenly spaced; see there for the arguments."""
    side = tile_side(height, width, per_side, image_size)
    rows, columns = (_cover(length, min(side, length)) for length in (height, width))
    return [(row, column) for row in rows for column in columns]


def random_tile(height: int, width: int, per_side: int, image_size: int, rng: np.random.Generator) -> Box:
    """A box of a tile's size anywhere in the image; see `tile_side` for the arguments."""
    side = tile_side(height, width, per_side, image_size)
    starts = [(int(rng.integers(length - min(side, length) + 1)), min(side, length)) for length in (height, width)]
    row, column = (slice(start, start + extent) for start, extent in starts)
    return row, column


def ramp(height: int, width: int) -> np.ndarray:
    """A tile's say in each of its pixels, height width, above 0 to 1: full inside, falling towards its border."""
    row, column = (
        np.minimum(1, (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1) / max(1, n * OVERLAP)) for n in (height, width)
    )
    return np.outer(row, column).astype(np.float32)


def _cover(length: int, side: int) -> list[slice]:
    step = side * (1 - OVERLAP)
    # A px of grace: sides are rounded up.
    count = 1 if side >= length else math.ceil((length - side - 1) / step) + 1
    starts = np.linspace(0, length - side, count).round().astype(int)
    return [slice(int(start), int(start) + side) for start in starts]
