"""The scale at which a model sees images. It is computed from the training images and saved with the specialist."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptsam_auto.data.dataset import Pair
from ptsam_auto.sam.tiles import Tiling

MAX_IMAGES = 64  # number of training images whose size is read
MUCH_LARGER = 1.5  # times the largest training image; beyond that a relative scale was never tested


@dataclass(frozen=True)
class Scale:
    """The scale of a model, and the sizes of the images that it was trained on.

    Args:
        tiles: Number of tiles along the longer side of a typical training image, see `sam.tiles.Tiling`.
        tile: Side of a tile in px of the image, whatever the image's size; None for a scale relative to each image.
        smallest: Longer side of the smallest training image, px.
        largest: Longer side of the largest training image, px.
    """

    tiles: int
    tile: int | None
    smallest: int
    largest: int

    @property
    def tiling(self) -> Tiling:
        """Return the rule by which images are cut into tiles at this scale."""
        return Tiling(self.tiles, self.tile)


def scale_of(tiles: int, kind: str, images: Sequence[Pair], image_size: int) -> Scale:
    """Compute the scale from the training images.

    With "absolute", the tile size is computed for an image of the median size and is then used for all images.

    Args:
        tiles: Number of tiles along the longer side of an image.
        kind: "absolute" or "relative".
        images: Training images, at least one; only the first 64 are read.
        image_size: S, the network's input side, px.
    """
    longest = [max(pair.load().mask.shape) for pair in images[:MAX_IMAGES]]
    typical = int(np.median(longest))
    tile = Tiling(tiles).tile_side(typical, typical, image_size) if kind == "absolute" else None
    return Scale(tiles, tile, min(longest), max(longest))


def is_much_larger(longest: int, scale: Scale | None) -> bool:
    """Return whether an image is so much larger than the training images that a relative scale may fail on it.

    Args:
        longest: Longer side of the image, px.
        scale: Scale of the model, or None.
    """
    return scale is not None and scale.tile is None and longest > MUCH_LARGER * scale.largest
