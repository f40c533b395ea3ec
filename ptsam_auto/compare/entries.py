"""Who takes part in the comparison, and with which settings: the paper's Table 1. Knows no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptsam_auto.errors import ConfigError, suggestion
from ptsam_auto.training import defaults


@dataclass(frozen=True)
class Entry:
    """A row of Table 1, a column of Table 2.

    Args:
        name: on the command line.
        title: in tables and figures, with what of the image encoder is tuned.
        method: a name of `methods.registry`, or "nnunet", which is no SAM.
        adapt: "decoder", "encoder", or "scratch".
    """

    name: str
    title: str
    method: str
    adapt: str


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("ptsam", "PTSAM", "ptsam", "decoder"),
        Entry("cellseg1", "CellSeg1", "cellseg1", "decoder"),
        Entry("autosam", "AutoSAM", "autosam", "decoder"),
        Entry("ptsam-encoder", "PTSAM, encoder too", "ptsam", "encoder"),
        Entry("cellseg1-encoder", "CellSeg1, encoder too", "cellseg1", "encoder"),
        Entry("samed", "SAMed", "samed", "encoder"),
        Entry("nnunet", "nnU-Net", "nnunet", "scratch"),
    )
}
# With what a gain by tuning the encoder is measured against (Fig. 3): the same decoder on a frozen one.
FROZEN_TWIN = {"ptsam-encoder": "ptsam", "cellseg1-encoder": "cellseg1", "samed": "autosam"}

# Sec. 4.1.3, with fresh views instead of a bank and whole images; learning rates and prompt counts are ViT-B's own.
PAPER: dict[str, Any] = {
    "recipe.epochs": 1000,
    "recipe.steps_per_epoch": 20,
    "recipe.batch_size": 2,
    "recipe.warmup_steps": 0,
    "recipe.cross_entropy_weight": 0.2,
    "recipe.views": 0,
    "method.tiles": 1,
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {"paper": ("vit_b", PAPER)}


def chosen(names: Sequence[str]) -> list[Entry]:
    """Entries by their names; ("all",) is all of them.

    Raises:
        ConfigError: there is none of that name.
    """
    if list(names) == ["all"]:
        return list(ENTRIES.values())
    for name in names:
        if name not in ENTRIES:
            raise ConfigError(f"There is no method {name}. {suggestion(name, ENTRIES)}")
    return [ENTRIES[name] for name in dict.fromkeys(names)]


def values_of(entry: Entry, family: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is set about an entry that is a SAM: the frozen defaults, then what holds for all entries.

    Args:
        entry: not nnU-Net.
        family: the backbone's.
        changes: by field path; a bank (recipe.views) is left out where the encoder is tuned.
    """
    values = {default.path: default.value for default in defaults.block(family, entry.adapt, entry.method)}
    if entry.adapt == "encoder":
        changes = {path: value for path, value in changes.items() if path != "recipe.views"}
    return values | dict(changes)
