"""Large images in bands, from top to bottom: what is too large for memory is read and written a few rows at a time."""

# H W  size of an image, px  h  rows of a band

from collections.abc import Iterable, Iterator

import numpy as np

LARGE = 5_000**2  # px; from this size on, an image is processed in bands
TILE = 256  # side of a tile of a TIFF, px
BIG_TIFF = 2**32 - 2**25  # bytes of pixels; larger files have 64-bit offsets


def in_steps(bands: Iterable[np.ndarray], step: int) -> Iterator[np.ndarray]:
    """Yield the rows of all bands, each h W, again: `step` at a time, the last ones fewer."""
    waiting: np.ndarray | None = None
    for band in bands:
        waiting = band if waiting is None else np.concatenate([waiting, band])
        while len(waiting) >= step:
            yield waiting[:step]
            waiting = waiting[step:]
    if waiting is not None and len(waiting):
        yield waiting


def tiles(bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the tiles of an image, row by row, from its bands; those at its right and lower border are padded."""
    for rows in in_steps(bands, TILE):
        for left in range(0, rows.shape[1], TILE):
            tile = rows[:, left : left + TILE]
            yield np.pad(tile, ((0, TILE - tile.shape[0]), (0, TILE - tile.shape[1])))
