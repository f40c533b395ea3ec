"""The contents of specialist.json."""

from dataclasses import dataclass, field
from typing import Any

from ptsam_auto.data.leaks import KnownImage
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.objects.separation import NOT_LEARNED, ObjectSettings
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.specialist.calibration import Calibration
from ptsam_auto.specialist.expected import Expected
from ptsam_auto.specialist.scores import Scores
from ptsam_auto.training.defaults import Sourced
from ptsam_auto.training.scale import Scale

FORMAT = 3


@dataclass(frozen=True)
class BackboneRecord:
    """The frozen SAM that a specialist needs.

    Args:
        name: Name of the backbone ("vit_b", "nano", ...), or the path of the user's own checkpoint.
        sha256: SHA-256 of the weights.
    """

    name: str
    sha256: str

    @classmethod
    def of(cls, backbone: Backbone) -> "BackboneRecord":
        """Return the record of a loaded backbone."""
        return cls(backbone.name, backbone.sha256)


@dataclass(frozen=True)
class DataRecord:
    """The training images and the test images.

    Args:
        folder: Name of the folder.
        fingerprint: Fingerprint of the training images; see `data.dataset.fingerprint`.
        train: Names of the training images.
        train_images: Data that is needed to recognise the training images.
        folds: Names of the images of each fold; a fold is predicted by models that were trained on the other folds.
        test_folder: Name of the folder of the test images, or None if there are none.
        test: Names of the test images, which are not used for the training or for the choice.
        reading: Channels and scaling, with which every image that is predicted is read.
        understood: How the folder was read: pairs of a property and its value.
    """

    folder: str
    fingerprint: str
    train: tuple[str, ...]
    train_images: tuple[KnownImage, ...]
    folds: tuple[tuple[str, ...], ...]
    test_folder: str | None
    test: tuple[str, ...]
    reading: ImageReading
    understood: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ScoresRecord:
    """The scores of a specialist.

    Args:
        crossfit: Scores on the training images; each image is predicted by models that were trained without it. None
            if there was no cross-fitting.
        expected: Expected Dice on new images, or None if there was no cross-fitting.
        untuned: Scores of the untuned network on the same images, or None if the method has none.
        test: Scores of the specialist on the test images, or None if there are none.
        untuned_test: Scores of the untuned network on the test images, or None.
        calibration: Expected Dice of a single new image, given the confidence of its prediction, or None if there was
            no cross-fitting.
    """

    crossfit: Scores | None
    expected: Expected | None
    untuned: Scores | None
    test: Scores | None
    untuned_test: Scores | None
    calibration: Calibration | None = None

    @property
    def main(self) -> Scores:
        """Return the scores on the test images if there are any, otherwise the cross-fitted scores."""
        scores = self.test or self.crossfit
        assert scores is not None  # `fit` requires test images if it cannot cross-fit.
        return scores


@dataclass(frozen=True)
class CostRecord:
    """The cost of the training.

    Args:
        trainable: Number of learned parameters.
        bytes: Size of the learned parameters in bytes.
        seconds: Time of all trainings and predictions in all calls of `fit`. The time of a training that was
            interrupted, and continued later, is included only from its last start.
        device: Device of the training.
        workers: Number of workers.
    """

    trainable: int
    bytes: int
    seconds: float
    device: str
    workers: int


@dataclass(frozen=True)
class MemberRecord:
    """A trained member: one set of learned parameters on one frozen network.

    Args:
        name: Name of the member in the portfolio, or of the method.
        weight: Weight of its probabilities in the mixture; the sum over the members is 1.
        backbone: The backbone, or None for methods without SAM.
        adapt: "decoder", "encoder" or "scratch".
        method: Settings of the method by field; "name" is the name of the method.
        recipe: Training settings, or None for nnU-Net.
        augmentation: Augmentation settings, or None for nnU-Net.
        design: Further information to rebuild the network (the plans of nnU-Net), or None.
        scale: Scale of the images, and the size of the training images; None for nnU-Net.
        settings: Every setting with its source, by field path.
        searched: Metadata of the search that the defaults come from, without its list of images, or None.
        steps: Number of optimiser steps.
        views: Number of saved views per image; 0 if every step used new views.
        steps_before: Number of optimiser steps on a part of the images before, at whose prompts it began; 0 if it began
            at those of the settings.
    """

    name: str
    weight: float
    backbone: BackboneRecord | None
    adapt: str
    method: dict[str, Any]
    recipe: dict[str, Any] | None
    augmentation: dict[str, Any] | None
    design: dict[str, Any] | None
    scale: Scale | None
    settings: dict[str, Sourced]
    searched: dict[str, Any] | None
    steps: int
    views: int
    steps_before: int = 0


@dataclass(frozen=True)
class TriedRecord:
    """A member of the portfolio that was cross-fitted.

    Args:
        name: Name of the member.
        share: Fraction of its steps in the cross-fit, above 0 and at most 1.
        dice: Mean cross-fitted Dice.
        dice_of_images: Cross-fitted Dice of each image with foreground.
        seconds: Duration of its cross-fits.
        compared: Mean Dice with which it was compared if that is not the cross-fitted one: as it will be with the steps
            that the budget allows it alone on all images.
    """

    name: str
    share: float
    dice: float
    dice_of_images: tuple[float, ...]
    seconds: float
    compared: float | None = None


@dataclass(frozen=True)
class ChoiceRecord:
    """How the members were chosen.

    Args:
        minutes: Budget of time.
        tried: All members that were cross-fitted.
        skipped: Name of each member that was not tried, and the time that it would have taken.
        gain: How much better the best mixture is than the best single member, Dice, 0 to 1.
        standard_error: Standard error of the gain, paired over the images.
    """

    minutes: float
    tried: tuple[TriedRecord, ...]
    skipped: tuple[tuple[str, str], ...]
    gain: float
    standard_error: float


@dataclass(frozen=True)
class SpecialistRecord:
    """The complete specialist.json.

    Args:
        format: Format version of this file.
        created: Date and time, ISO 8601, UTC.
        members: The members of the mixture; one if no mixture is clearly better than a single member.
        choice: How the members were chosen from the portfolio, or None if the user chose the configuration.
        seed: Random seed of the folds, the initial values and the views.
        data: Training images and test images.
        scores: Scores on images that were not used for the training.
        warnings: Warnings for the user.
        cost: Cost of the training.
        versions: Versions of the packages that made the specialist.
        objects: How objects are separated in masks, learned from the training masks.
        classes: Names of the classes, in the order of their numbers, counted from 1; () for a single class.
        files: SHA-256 of each file of tensors, by its name; {} in specialists of earlier versions.
    """

    format: int
    created: str
    members: tuple[MemberRecord, ...]
    choice: ChoiceRecord | None
    seed: int
    data: DataRecord
    scores: ScoresRecord
    warnings: tuple[str, ...]
    cost: CostRecord
    versions: dict[str, str]
    objects: ObjectSettings = NOT_LEARNED
    classes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def cross_fitted_share(self) -> float:
        """Return the smallest number of steps of a member's cross-fit, as a fraction of all of its steps; at most 1."""
        tried = {one.name: one.share for one in self.choice.tried} if self.choice else {}
        shares = [
            tried[member.name]
            * member.recipe["epochs"]
            * member.recipe["steps_per_epoch"]
            / (member.steps + member.steps_before)
            for member in self.members
            if member.name in tried and member.recipe and member.steps
        ]
        return min([1.0, *shares])
