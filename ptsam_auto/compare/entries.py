"""The methods of the comparison and their trainers: the rows of the paper's Table 1, and control experiments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptsam_auto.baselines import nnunet
from ptsam_auto.baselines.nnunet import NnunetTrainer
from ptsam_auto.baselines.otsu import OtsuTrainer
from ptsam_auto.baselines.unet import UNetTrainer
from ptsam_auto.errors import ConfigError, suggestion
from ptsam_auto.sam.checkpoint import Backbone, randomised
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer, Trainer, Untuned


@dataclass(frozen=True)
class Conditions:
    """The backbone and the settings that all compared methods share.

    Args:
        backbone: The frozen SAM.
        settings: Values that replace the defaults, by field path; paths that begin with "nnunet." are for nnU-Net.
        bank: Folder of encoded views that the trainings share.
    """

    backbone: Backbone
    settings: Mapping[str, Any]
    bank: Path

    def for_sam(self, method: str, adapt: str) -> Settings:
        """Return all settings of a SAM method: its defaults, overridden by the settings of the comparison.

        Raises:
            ConfigError: The method does not have a setting, or settings exclude each other.
        """
        own = {path: value for path, value in self.settings.items() if not path.startswith(nnunet.PREFIX)}
        if adapt == "encoder":  # The features change at every step, so there is no bank.
            own.pop("recipe.views", None)
        return Settings.from_paths({**defaults.values(self.backbone.family, adapt, method), **own})


@dataclass(frozen=True)
class Entry:
    """A compared method: a row of Table 1 and a column of Table 2, or a control experiment.

    Args:
        name: Name on the command line.
        title: Name in tables and figures; it says whether the image encoder is tuned.
        trainer: Function that returns its trainer; it raises ConfigError for a setting that the method does not have.
        method: Name in `methods.sam_methods` of the method whose defaults it uses, or None.
        adapt: "decoder", "encoder", or "scratch".
    """

    name: str
    title: str
    trainer: Callable[[Conditions], Trainer]
    method: str | None = None
    adapt: str = "scratch"


def _on_sam(name: str, title: str, method: str, adapt: str) -> Entry:
    def trainer(conditions: Conditions) -> Trainer:
        return SamTrainer(conditions.backbone, conditions.for_sam(method, adapt), conditions.bank)

    return Entry(name, title, trainer, method, adapt)


def _nnunet(conditions: Conditions) -> Trainer:
    """Return nnU-Net with the same number of steps as the other methods, unless its own settings say otherwise."""
    recipe = conditions.for_sam("ptsam", "decoder").recipe
    budget = {"epochs": recipe.epochs, "steps_per_epoch": recipe.steps_per_epoch}
    own = {path: value for path, value in conditions.settings.items() if path.startswith(nnunet.PREFIX)}
    return NnunetTrainer(nnunet.config_of({**{nnunet.PREFIX + name: value for name, value in budget.items()}, **own}))


def _on_random_network(conditions: Conditions) -> Trainer:
    """Return PTSAM on the same network with random weights (control experiment)."""
    return SamTrainer(randomised(conditions.backbone), conditions.for_sam("ptsam", "decoder"), conditions.bank)


def _unet(conditions: Conditions) -> Trainer:
    """Return a U-Net with the same number of steps as the other methods, at the input size of the backbone."""
    return UNetTrainer(conditions.for_sam("ptsam", "decoder"), conditions.backbone.sam.image_encoder.img_size)


def _untuned(conditions: Conditions) -> Trainer:
    return Untuned(conditions.backbone, conditions.for_sam("ptsam", "decoder"))


TABLE_1 = (
    _on_sam("ptsam", "PTSAM", "ptsam", "decoder"),
    _on_sam("cellseg1", "CellSeg1", "cellseg1", "decoder"),
    _on_sam("autosam", "AutoSAM", "autosam", "decoder"),
    _on_sam("ptsam-encoder", "PTSAM, encoder too", "ptsam", "encoder"),
    _on_sam("cellseg1-encoder", "CellSeg1, encoder too", "cellseg1", "encoder"),
    _on_sam("samed", "SAMed", "samed", "encoder"),
    Entry("nnunet", "nnU-Net", _nnunet),
)
CONTROLS = (
    Entry("unet", "U-Net from scratch", _unet),
    Entry("random", "PTSAM on a random network", _on_random_network),
    Entry("otsu", "Otsu's threshold", lambda conditions: OtsuTrainer()),
)
UNTUNED = Entry("untuned", "untuned SAM", _untuned)  # It is always included, once per split.
ENTRIES = {entry.name: entry for entry in (*TABLE_1, *CONTROLS)}

# For each method that tunes the encoder, the method with the same decoder and a frozen encoder: Fig. 3 compares them.
FROZEN_COUNTERPART = {"ptsam-encoder": "ptsam", "cellseg1-encoder": "cellseg1", "samed": "autosam"}


def entries_by_name(names: Sequence[str]) -> list[Entry]:
    """Return the methods by their names; ("all",) stands for the paper's Table 1.

    Raises:
        ConfigError: There is no method of this name.
    """
    if list(names) == ["all"]:
        return list(TABLE_1)
    for name in names:
        if name not in ENTRIES:
            raise ConfigError(f"There is no method {name}. {suggestion(name, ENTRIES)}")
    return [ENTRIES[name] for name in dict.fromkeys(names)]
