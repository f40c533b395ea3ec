"""Cuts an image into overlapping tiles; the network sees each tile at its full input size."""

# H W  size of an image, px  t  side of a tile, px of the image  S  the network's input side, px

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np

from ptsam_auto.sam.turns import ALL_TURNS, UPRIGHT, Turn

OVERLAP = 0.2  # minimum overlap as a fraction of a tile's side; predictions are blended there
MOST_ENLARGED = 2  # largest magnification; enlarging an image further shows no more detail

Box = tuple[slice, slice]


class Pixels(Protocol):
    """An image that is cut into boxes: an array, or a file that is read by regions."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return H, W and 3."""

    def __getitem__(self, box: Box) -> np.ndarray:
        """Return the pixels of a box, h w 3, uint8, RGB."""


def frame(height: int, width: int, image_size: int) -> tuple[int, int]:
    """Return height and width, px, of an image whose longer side is scaled to the network's input side, as in SAM."""
    scale = image_size / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


@dataclass(frozen=True)
class Tiling:
    """Rule by which images are cut into tiles.

    Args:
        per_side: Number of tiles along the longer side of an image, at least 1; 1 is the whole image.
        side: t, side of a tile in px of the image. If it is given, all images are shown at the same magnification: each
            tile covers t x t px, an image larger than the training images gets more tiles, and a smaller one is padded.
            If it is None, every image gets `per_side` tiles, whatever its size.
        turned: Whether the network sees each tile in all eight flips and quarter turns, so that its prediction is their
            mean (test-time augmentation).
    """

    per_side: int = 1
    side: int | None = None
    turned: bool = False

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Return the turns in which the network sees each tile."""
        return ALL_TURNS if self.turned else UPRIGHT

    def tile_side(self, height: int, width: int, image_size: int) -> int:
        """Return t, the side of a tile in px of the image, for an image of this size.

        With a relative scale it is at most the longer side of the image, and at least half of the network's input,
        because a tile is enlarged at most by a factor of two.

        Args:
            height: H, height of the image, px.
            width: W, width of the image, px.
            image_size: S, the network's input side, px.
        """
        if self.side is not None:
            return self.side
        longest = max(height, width)
        side = math.ceil(longest / (self.per_side - (self.per_side - 1) * OVERLAP))
        return min(longest, max(side, image_size // MOST_ENLARGED))

    def boxes(self, height: int, width: int, image_size: int) -> list[Box]:
        """Return evenly spaced boxes with sides of at most t that cover an image; for the arguments see `tile_side`."""
        side = self.tile_side(height, width, image_size)
        rows, columns = (_cover(length, min(side, length)) for length in (height, width))
        return [(row, column) for row in rows for column in columns]

    def rows_of_boxes(self, height: int, width: int, image_size: int, start: int = 0) -> list[list[Box]]:
        """Return the same boxes, each row of them as a list, from top to bottom.

        Args:
            height: H, height of the image, px.
            width: W, width of the image, px.
            image_size: S, the network's input side, px.
            start: Row of pixels; boxes that end above it are left out.
        """
        boxes = [box for box in self.boxes(height, width, image_size) if box[0].stop > start]
        return [list(row) for _, row in groupby(boxes, key=lambda box: (box[0].start, box[0].stop))]

    def random_box(self, height: int, width: int, image_size: int, rng: np.random.Generator) -> Box:
        """Return a random box of the size of a tile in an image; see `tile_side` for the arguments."""
        side = self.tile_side(height, width, image_size)
        starts = [(int(rng.integers(length - min(side, length) + 1)), min(side, length)) for length in (height, width)]
        row, column = (slice(start, start + extent) for start, extent in starts)
        return row, column

    def frame(self, rows: int, columns: int, image_size: int) -> tuple[int, int]:
        """Return the height and width, px, of a scaled box of an image inside the square network input.

        Args:
            rows: Height of the box, px of the image.
            columns: Width of the box, px of the image.
            image_size: S, the network's input side, px.
        """
        if self.side is None:
            return frame(rows, columns, image_size)
        height, width = (min(image_size, max(1, round(n * image_size / self.side))) for n in (rows, columns))
        return height, width


def ramp(height: int, width: int) -> np.ndarray:
    """Return the weight of a tile's prediction in each of its pixels, height width, above 0 and at most 1.

    It is 1 in the middle and decreases towards the border of the tile.
    """
    row, column = (
        np.minimum(1, (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1) / max(1, n * OVERLAP)) for n in (height, width)
    )
    return np.outer(row, column).astype(np.float32)


def _cover(length: int, side: int) -> list[slice]:
    step = side * (1 - OVERLAP)
    # One pixel of tolerance, because sides are rounded up. A single tile is that pixel longer.
    if length <= side + 1:
        return [slice(0, length)]
    count = math.ceil((length - side - 1) / step) + 1
    starts = np.linspace(0, length - side, count).round().astype(int)
    return [slice(int(start), int(start) + side) for start in starts]
