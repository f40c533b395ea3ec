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


def adaptation(family: str, device: str, method: str = "ptsam") -> Default:
    """What to adapt, "decoder" or "encoder", on this backbone and kind of hardware.

    Args:
        family: of `families()`.
        device: "cpu" or "cuda".
        method: a name of `methods.registry`.
    """
    entry, possible = _family(family)["adapt"], adaptations(family, method)
    if len(possible) == 1:
        return Default("adapt", possible[0], f"{method} adapts nothing else")
    return Default("adapt", entry[device], entry["source"])


def adaptations(family: str, method: str) -> list[str]:
    """What a method can adapt, of `ADAPTATIONS`; see `adaptation` for the arguments."""
    return [adapt for adapt in ADAPTATIONS if adapt in _of(method, family)]


def block(family: str, adapt: str, method: str = "ptsam") -> list[Default]:
    """The frozen settings of one backbone, adaptation and method, in the file's order.

    The comparison's control is that all methods train alike, so a rival has PTSAM's recipe but for what its own block
    says, such as its learning rate.

    Args:
        family: of `families()`.
        adapt: of `adaptations(family, method)`.
        method: a name of `methods.registry`.
    """
    entries = _of("ptsam", family)[adapt]
    if method != "ptsam":
        own = {"method.name": {"value": method, "source": "the method asked for"}, **_of(method, family)[adapt]}
        shared = {path: entry for path, entry in entries.items() if not path.startswith("method.") and path not in own}
        entries = own | shared
    return [Default(path, entry["value"], entry["source"]) for path, entry in entries.items()]


def _of(method: str, family: str) -> dict[str, Any]:
    """A method's blocks by adaptation; PTSAM's stand at the top of its backbone's."""
    found = _family(family)
    return found if method == "ptsam" else found[method]
