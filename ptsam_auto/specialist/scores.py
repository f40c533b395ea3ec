"""Evaluates a prediction function on annotated images."""

# H W size of an image, px  C classes

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.metrics.classes import counts_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image, each 0 to 1.

    Args:
        name: Name of the image.
        dice: Dice of the foreground; with several classes, the mean over those that the annotation shows.
        iou: IoU of the foreground, or such a mean.
        predicted_share: Fraction of the image that is predicted as foreground.
        blank: Whether the annotation has no foreground. Then predicted_share is the false-positive area, and dice has
            no meaning.
        dice_of_classes: Dice of each class, or None where the annotation does not show it; () for one class.
    """

    name: str
    dice: float
    iou: float
    predicted_share: float
    blank: bool = False
    dice_of_classes: tuple[float | None, ...] = ()

    @classmethod
    def of(
        cls, name: str, predicted: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None, classes: int = 1
    ) -> "ImageScore":
        """Compute the scores of a mask, H W, bool or class numbers; ignored pixels do not count.

        Args:
            name: Name of the image.
            predicted: Predicted mask.
            truth: Annotated mask.
            ignored: Ignored pixels, H W, bool, or None.
            classes: C, number of classes.
        """
        counts = counts_of(predicted, truth, ignored, classes)
        shown = [one for one in counts if one.true_positive + one.false_negative] or counts
        return cls(
            name,
            dice=float(np.mean([one.dice for one in shown])),
            iou=float(np.mean([one.iou for one in shown])),
            predicted_share=sum(one.predicted_share for one in counts),
            blank=not any(one.true_positive + one.false_negative for one in counts),
            dice_of_classes=()
            if classes == 1
            else tuple(one.dice if one.true_positive + one.false_negative else None for one in counts),
        )


@dataclass(frozen=True)
class Scores:
    """The scores of a model on a set of images. Every image has the same weight, independent of its size.

    Blank images, whose annotation has no foreground, have no useful Dice: one wrong pixel would make it 0. They are
    left out of the means, and their false-positive area is reported. Only if all images are blank, they count: 1 for an
    image without predicted foreground, else 0.

    Args:
        dice: Mean Dice over the images, 0 to 1.
        dice_std: Standard deviation of Dice over the images (n - 1); 0 for a single image.
        iou: Mean IoU over the images, 0 to 1.
        false_positive_area: Mean fraction of the blank images that is predicted as foreground, or None if no image is
            blank.
        images: Scores of each image.
    """

    dice: float
    dice_std: float
    iou: float
    false_positive_area: float | None
    images: tuple[ImageScore, ...]

    @classmethod
    def of(cls, images: Sequence[ImageScore]) -> "Scores":
        """Compute the mean scores of one or more images."""
        measured = [image for image in images if not image.blank] or images
        dice = [image.dice for image in measured]
        blank = [image.predicted_share for image in images if image.blank]
        return cls(
            dice=float(np.mean(dice)),
            dice_std=float(np.std(dice, ddof=1)) if len(dice) > 1 else 0.0,
            iou=float(np.mean([image.iou for image in measured])),
            false_positive_area=float(np.mean(blank)) if blank else None,
            images=tuple(images),
        )

    @property
    def measured(self) -> tuple[ImageScore, ...]:
        """Return the images that count in the means: those with foreground, or all images if there are none."""
        return tuple(image for image in self.images if not image.blank) or self.images

    @property
    def of_classes(self) -> tuple[float | None, ...]:
        """Return the mean Dice of each class over the images that show it, or None if none does; () for one class."""
        columns = zip(*(image.dice_of_classes for image in self.images), strict=True)
        shown = [[dice for dice in column if dice is not None] for column in columns]
        return tuple(float(np.mean(dice)) if dice else None for dice in shown)

    def frame(self) -> "pd.DataFrame":
        """Return one row per image, with the fields of `ImageScore` as columns and the names as the index.

        The Dice of the classes is a column only if there are several.
        """
        import pandas as pd  # It takes half a second, and only notebooks need it.

        rows = pd.DataFrame([asdict(image) for image in self.images]).set_index("name")
        return rows if any(image.dice_of_classes for image in self.images) else rows.drop(columns="dice_of_classes")

    @property
    def warning(self) -> str | None:
        """Return a warning if all predicted masks are empty or all are full, otherwise None."""
        shares = [image.predicted_share for image in self.images]
        if max(shares) < 1e-4:
            return "All predicted masks are empty: they contain only background."
        if min(shares) > 1 - 1e-4:
            return "All predicted masks are full: they contain only foreground."
        return None


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    pairs: Sequence[Pair],
    *,
    progress: Callable[[int], None] = lambda done: None,
    on_prediction: Callable[[Sample, np.ndarray], None] = lambda sample, mask: None,
    classes: int = 1,
) -> Scores:
    """Predict the mask of every image, and compute the scores.

    Args:
        predict: Function from an image (H W 3, uint8, RGB) to its mask (H W, bool or class numbers).
        pairs: One or more annotated images.
        progress: Function that is called with the number of images that are done.
        on_prediction: Function that is called with each image and its predicted mask.
        classes: C, number of classes.
    """
    scores = []
    for done, pair in enumerate(pairs, start=1):
        sample = pair.load()
        mask = predict(sample.image)
        on_prediction(sample, mask)
        scores.append(ImageScore.of(pair.name, mask, sample.mask, sample.ignored, classes))
        progress(done)
    return Scores.of(scores)
