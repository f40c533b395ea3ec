"""What `fit` asks for, and what it is given, whoever trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ptsam_auto.specialist.artifact import Model
from ptsam_auto.training.loop import EpochReport

Curve = dict[str, list[float]]  # "step" and what was seen at it: a column each


@dataclass(frozen=True)
class Asked:
    """A person's choices; see `pipeline.fit`."""

    method: str
    backbone: str
    adapt: str | None
    settings: Mapping[str, Any]
    seed: int
    device: str
    batch_size: int | None
    workers: int
    storage: str | None
    address: str | None


@dataclass(frozen=True)
class Made:
    """A trained model and how it came about.

    Args:
        model: trained.
        curve: of training.
        about: for specialist.json: backbone, adapt, method with the rest of its settings, where each setting comes
            from, and what it takes to build the model again.
        cost: for the same: steps, views of each image (0: fresh ones), seconds of encoding and training.
        untuned: the same network before training, from image to mask as `evaluate` has it; None where it has no use.
        alarms: what a person must know before using it.
    """

    model: Model
    curve: Curve
    about: dict[str, Any]
    cost: dict[str, Any]
    untuned: Callable[[np.ndarray], np.ndarray] | None = None
    alarms: list[str] = field(default_factory=list)


def columns(reports: Sequence[EpochReport]) -> Curve:
    """Our own loop's reports as a curve."""
    rows = [asdict(report) for report in reports]
    return {name: [row[name] for row in rows] for name in rows[0] if name != "epoch"}
