"""A control that has learned next to nothing: Otsu's threshold of each image, and which side of it is meant."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ptsam_auto.data.dataset import Pair
from ptsam_auto.metrics.dice import Counts


@dataclass(frozen=True)
class Otsu:
    """Foreground is what is brighter (or darker) than the grey value that best parts the image in two.

    Args:
        bright: whether what is brighter is meant.
    """

    bright: bool

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask of an H W 3 uint8 RGB image: H W, bool."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
        return (grey > threshold) == self.bright


def choose_otsu(pairs: Sequence[Pair]) -> Otsu:
    """The polarity with the higher mean Dice on the training images."""
    bright, dark = Otsu(bright=True), Otsu(bright=False)
    lead = 0.0
    for pair in pairs:
        sample = pair.load()
        found = bright.predict(sample.image)
        lead += Counts.of(found, sample.mask).dice - Counts.of(~found, sample.mask).dice
    return bright if lead >= 0 else dark
