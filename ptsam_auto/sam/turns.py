"""The eight flips and quarter turns of a tile, for test-time augmentation."""

# C classes  h w size of a tile, px

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Turn:
    """A flip and quarter turns.

    Args:
        mirrored: Whether left and right are exchanged first.
        quarters: Number of quarter turns to the left, 0 to 3.
    """

    mirrored: bool = False
    quarters: int = 0

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Return the turned pixels, h w 3 or w h 3."""
        seen = pixels[:, ::-1] if self.mirrored else pixels
        return np.ascontiguousarray(np.rot90(seen, self.quarters)) if self.mirrored or self.quarters else pixels

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and the width of what is turned."""
        return (width, height) if self.quarters % 2 else (height, width)

    def back(self, maps_Chw: np.ndarray) -> np.ndarray:
        """Return maps of the turned pixels as maps of the pixels as they were."""
        back = np.rot90(maps_Chw, -self.quarters, axes=(-2, -1))
        return back[..., ::-1] if self.mirrored else back


UPRIGHT = (Turn(),)
ALL_TURNS = tuple(Turn(mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
