"""How good anything that predicts masks is on annotated images, image by image."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.metrics.dice import Counts


@dataclass(frozen=True)
class ImageScore:
    """One image's scores, each 0 to 1.

    Args:
        name: the image's.
        dice: and IoU, of the foreground.
        iou: see dice.
        predicted_share: of the image that was called foreground.
    """

    name: str
    dice: float
    iou: float
    predicted_share: float


@dataclass(frozen=True)
class Scores:
    """A model on a set of images; images count alike, whatever their size."""

    images: tuple[ImageScore, ...]

    @property
    def dice(self) -> float:
        """Mean Dice over images, 0 to 1."""
        return float(np.mean([image.dice for image in self.images]))

    @property
    def dice_std(self) -> float:
        """Standard deviation of Dice over images (n - 1); 0 for a single image."""
        return float(np.std([image.dice for image in self.images], ddof=1)) if len(self.images) > 1 else 0.0

    @property
    def iou(self) -> float:
        """Mean IoU over images, 0 to 1."""
        return float(np.mean([image.iou for image in self.images]))

    @property
    def alarm(self) -> str | None:
        """What is plainly wrong with the masks as a whole, or None."""
        shares = [image.predicted_share for image in self.images]
        if max(shares) < 1e-4:
            return "The specialist finds nothing: every predicted mask is background."
        if min(shares) > 1 - 1e-4:
            return "The specialist finds everything: every predicted mask is all foreground."
        return None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dice": self.dice,
            "dice_std": self.dice_std,
            "iou": self.iou,
            "images": [asdict(image) for image in self.images],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Scores":
        """The inverse of `as_dict`."""
        return cls(tuple(ImageScore(**image) for image in stored["images"]))


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    pairs: Sequence[Pair],
    *,
    progress: Callable[[int], None] = lambda done: None,
    look: Callable[[Sample, np.ndarray], None] = lambda sample, mask: None,
) -> Scores:
    """Predict every image and compare.

    Args:
        predict: from an image (H W 3, uint8, RGB) to its mask (H W, bool).
        pairs: at least one.
        progress: called with the number of images done.
        look: given each image and its predicted mask (H W, bool) as they come.
    """
    scores = []
    for done, pair in enumerate(pairs, start=1):
        sample = pair.load()
        mask = predict(sample.image)
        look(sample, mask)
        counts = Counts.of(mask, sample.mask)
        scores.append(ImageScore(pair.name, counts.dice, counts.iou, counts.predicted_share))
        progress(done)
    return Scores(tuple(scores))
