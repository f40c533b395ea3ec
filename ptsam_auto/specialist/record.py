"""The contents of specialist.json."""

from dataclasses import dataclass
from typing import Any

from ptsam_auto.data.leaks import KnownImage
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.specialist.scores import Scores
from ptsam_auto.training.defaults import Sourced
from ptsam_auto.training.scale import Scale

FORMAT = 2


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
    """The training images and the held-out images.

    Args:
        folder: Name of the folder.
        fingerprint: Fingerprint of the training images; see `data.dataset.fingerprint`.
        train: Names of the training images.
        train_images: Data that is needed to recognise the training images.
        held_out_folder: Name of the folder of the held-out images.
        held_out: Names of the held-out images.
        reading: Channels and scaling, with which every image that is predicted is read.
        understood: How the folder was read: pairs of a property and its value.
    """

    folder: str
    fingerprint: str
    train: tuple[str, ...]
    train_images: tuple[KnownImage, ...]
    held_out_folder: str
    held_out: tuple[str, ...]
    reading: ImageReading
    understood: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ScoresRecord:
    """Scores on the held-out images.

    Args:
        tuned: Scores of the specialist.
        untuned: Scores of the untuned network, or None if the method has none.
    """

    tuned: Scores
    untuned: Scores | None


@dataclass(frozen=True)
class CostRecord:
    """The cost of the training.

    Args:
        trainable: Number of learned parameters.
        bytes: Size of the learned parameters in bytes.
        steps: Number of optimiser steps.
        views: Number of saved views per image; 0 if every step used new views.
        seconds: Time of encoding and training in the last call of `fit`. If the training was interrupted, the time
            before the interruption is not included.
        device: Device of the training.
        workers: Number of workers.
    """

    trainable: int
    bytes: int
    steps: int
    views: int
    seconds: float
    device: str
    workers: int


@dataclass(frozen=True)
class SpecialistRecord:
    """The complete specialist.json.

    Args:
        format: Format version of this file.
        created: Date and time, ISO 8601, UTC.
        backbone: The backbone, or None for methods without SAM.
        adapt: "decoder", "encoder" or "scratch".
        method: Settings of the method by field; "name" is the name of the method.
        recipe: Training settings, or None for nnU-Net.
        augmentation: Augmentation settings, or None for nnU-Net.
        design: Further information to rebuild the network (the plans of nnU-Net), or None.
        scale: Scale of the images, and the size of the training images; None for nnU-Net.
        settings: Every setting with its source, by field path.
        searched: Metadata of the search that the defaults come from, without its list of images, or None.
        seed: Random seed of the split, the initial values and the views.
        data: Training images and held-out images.
        scores: Scores on the held-out images.
        warnings: Warnings for the user.
        cost: Cost of the training.
        versions: Versions of the packages that made the specialist.
    """

    format: int
    created: str
    backbone: BackboneRecord | None
    adapt: str
    method: dict[str, Any]
    recipe: dict[str, Any] | None
    augmentation: dict[str, Any] | None
    design: dict[str, Any] | None
    scale: Scale | None
    settings: dict[str, Sourced]
    searched: dict[str, Any] | None
    seed: int
    data: DataRecord
    scores: ScoresRecord
    warnings: tuple[str, ...]
    cost: CostRecord
    versions: dict[str, str]
