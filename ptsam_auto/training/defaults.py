"""What `fit` uses unasked: one data file, each value with its provenance. Knows no torch.

The shipped file speaks for everyone. A lab that searched on data of its own has a second one, of the same form, that
`ptsam-auto freeze` writes; what stands there goes before.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ptsam_auto.errors import ConfigError

ADAPTATIONS = ("decoder", "encoder")
SEARCHED = "searched"  # beside a family's blocks: where a search's evidence stands
DIGEST = 12  # characters of an image's digest that evidence keeps


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


def user_file() -> Path:
    """The lab's own defaults: $PTSAM_AUTO_DEFAULTS, or ptsam-auto/defaults.toml in the user's configuration folder."""
    if path := os.environ.get("PTSAM_AUTO_DEFAULTS"):
        return Path(path)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ptsam-auto" / "defaults.toml"


def families() -> list[str]:
    """The backbones that have a block, in the file's order."""
    return list(_shipped())


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


def evidence(family: str, adapt: str, method: str = "ptsam") -> dict[str, Any] | None:
    """The search that a block was frozen from, as `search.freeze` wrote it; None where there was none."""
    return _of(method, family).get(SEARCHED, {}).get(adapt)


def met(family: str, adapt: str, method: str, digests: Iterable[str]) -> dict[str, int]:
    """Which of these images chose the block's values, or PTSAM's, whose recipe a rival shares.

    Args:
        family: of `families()`.
        adapt: of `adaptations(family, method)`.
        method: a name of `methods.registry`.
        digests: of pairs, see `data.dataset.Pair`.

    Returns:
        Dataset of the search to the number of images that are also in it; {} where there is none, as there should be.
    """
    found = [one for name in {"ptsam", method} for one in (evidence(family, adapt, name) or {"data": []})["data"]]
    seen = {digest[:DIGEST] for digest in digests}
    counts = {one["name"]: len(seen.intersection(one["images"])) for one in found}
    return {name: count for name, count in counts.items() if count}


@cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads((resources.files("ptsam_auto.training") / "defaults.toml").read_text())


def _own() -> dict[str, Any]:
    """The lab's own file; {} where there is none."""
    path = user_file()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.\nMend or remove it; it holds your own defaults.") from None
    for family, blocks in content.items():
        if family not in _shipped():
            raise ConfigError(f"{path}: there is no backbone {family}; there are {', '.join(_shipped())}.")
        for name in blocks.keys() - {"adapt", "like", SEARCHED}:
            of_method = {name: blocks[name]} if name in ADAPTATIONS else blocks[name]
            for adapt, block in of_method.items():
                if adapt != SEARCHED:
                    _check(block, f"{path}: {family}.{name if name == adapt else f'{name}.{adapt}'}")
    return content


def _check(block: object, where: str) -> None:
    if not isinstance(block, dict):
        raise ConfigError(f"{where}: expected settings.")
    for setting, entry in block.items():
        if not isinstance(entry, dict) or not {"value", "source"} <= entry.keys():
            raise ConfigError(f"{where}, {setting}: expected {{ value = ..., source = ... }}.")


def _family(name: str) -> dict[str, Any]:
    """A backbone's blocks: those of the one it is said to be like, then its own, then the lab's."""
    shipped = _shipped()[name]
    base = _family(shipped["like"]) if "like" in shipped else {}
    return _over(_over(base, shipped), _own().get(name, {}))


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Blocks over blocks, however deep: an upper entry goes whole before a lower one of the same name."""
    merged = dict(lower)
    for key, value in upper.items():
        is_block = isinstance(value, dict) and key != "adapt" and not ("value" in value or "search" in value)
        merged[key] = _over(merged.get(key, {}), value) if is_block else value
    return merged
