"""What `fit` uses unasked: one data file, each value with its provenance. Knows no torch."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

ADAPTATIONS = ("decoder", "encoder")


@dataclass(frozen=True)
class Default:
    """A frozen value.

    Args:
        path: of the field it sets, as in `settings`.
        value: of that field's type.
        source: where it comes from: a section of the paper, or a search.
    """

    path: str
    value: Any
    source: str


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads((resources.files("ptsam_auto.training") / "defaults.toml").read_text())


def _family(name: str) -> dict[str, Any]:
    """A backbone's block, or that of the one it is said to be like."""
    found = _file()[name]
    return _family(found["like"]) if "like" in found else found


def families() -> list[str]:
    """The backbones that have a block, in the file's order."""
    return list(_file())


def adaptation(family: str, device: str) -> Default:
    """What to adapt, "decoder" or "encoder", on this backbone and kind of hardware.

    Args:
        family: of `families()`.
        device: "cpu" or "cuda".
    """
    entry = _family(family)["adapt"]
    return Default("adapt", entry[device], entry["source"])


def block(family: str, adapt: str) -> list[Default]:
    """The frozen settings of one backbone and adaptation, in the file's order.

    Args:
        family: of `families()`.
        adapt: of `ADAPTATIONS`.
    """
    return [Default(path, entry["value"], entry["source"]) for path, entry in _family(family)[adapt].items()]
