"""The default settings of `fit`, read from defaults.toml, which gives the source of each value.

The built-in file is used by everyone. A lab can have a second file of the same format, written by `ptsam-auto freeze`;
its values override the built-in ones.
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
from ptsam_auto.files import read_utf8
from ptsam_auto.records import RecordError
from ptsam_auto.training.evidence import check, images_in

ADAPTATIONS = ("decoder", "encoder")
DEVICES = ("cpu", "cuda")
SEARCHED = "searched"  # key, among a family's blocks, of the metadata of the searches
MOST_BYTES = 2_000_000  # of the lab's own file; the digests of 50,000 images are in a third of it


@dataclass(frozen=True)
class Sourced:
    """Value of a setting, and its source: a section of the paper, a search, or the user."""

    value: Any
    source: str


def user_file() -> Path:
    """Return the path of the lab's own defaults.

    It is $PTSAM_AUTO_DEFAULTS, or ptsam-auto/defaults.toml in the user's configuration folder.
    """
    if path := os.environ.get("PTSAM_AUTO_DEFAULTS"):
        return Path(path)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ptsam-auto" / "defaults.toml"


def families() -> list[str]:
    """Return the names of the backbones that have a block, in the order of the file."""
    return list(_shipped())


def adaptation(family: str, device: str, method: str = "ptsam") -> Sourced:
    """Return what to adapt, "decoder" or "encoder", for a backbone and a kind of hardware.

    Args:
        family: Name of a backbone, one of `families()`.
        device: "cpu" or "cuda".
        method: Name of a method in `methods.sam_methods`.
    """
    entry, possible = _family(family)["adapt"], adaptations(family, method)
    if len(possible) == 1:
        return Sourced(possible[0], f"the only adaptation of {method}")
    return Sourced(entry[device], entry["source"])


def adaptations(family: str, method: str) -> list[str]:
    """Return the ones of `ADAPTATIONS` that a method supports; see `adaptation` for the arguments."""
    return [adapt for adapt in ADAPTATIONS if adapt in _blocks_of(method, family)]


def block(family: str, adapt: str, method: str = "ptsam") -> dict[str, Sourced]:
    """Return the default settings of one backbone, adaptation and method by field path, in the order of the file.

    All methods train with PTSAM's recipe, so that a comparison is fair. The block of another method contains only its
    differences, such as its learning rate.

    Args:
        family: Name of a backbone, one of `families()`.
        adapt: One of `adaptations(family, method)`.
        method: Name of a method in `methods.sam_methods`.
    """
    entries = _blocks_of("ptsam", family)[adapt]
    if method != "ptsam":
        own = {"method.name": {"value": method, "source": "the selected method"}, **_blocks_of(method, family)[adapt]}
        shared = {path: entry for path, entry in entries.items() if not path.startswith("method.") and path not in own}
        entries = own | shared
    return {path: Sourced(entry["value"], entry["source"]) for path, entry in entries.items()}


def values(family: str, adapt: str, method: str = "ptsam") -> dict[str, Any]:
    """Return the values of `block`, by field path."""
    return {path: setting.value for path, setting in block(family, adapt, method).items()}


def _blocks_of(method: str, family: str) -> dict[str, Any]:
    """Return the blocks of a method by adaptation; those of PTSAM are at the top level of the backbone."""
    blocks = _family(family)
    return blocks if method == "ptsam" else blocks[method]


def evidence(family: str, adapt: str, method: str = "ptsam") -> dict[str, Any] | None:
    """Return the metadata of the search that selected a block, as `ptsam-auto freeze` wrote it, or None."""
    return _blocks_of(method, family).get(SEARCHED, {}).get(adapt)


def searched_on(family: str, adapt: str, method: str, digests: Iterable[str]) -> dict[str, int]:
    """Count the images that were used in the search that selected the block, or PTSAM's block with the shared recipe.

    Args:
        family: Name of a backbone, one of `families()`.
        adapt: One of `adaptations(family, method)`.
        method: Name of a method in `methods.sam_methods`.
        digests: Digests of the images; see `evidence.images_in`, also for what is returned.
    """
    searches = [evidence(family, adapt, name) or {} for name in {"ptsam", method}]
    return images_in({"data": [dataset for search in searches for dataset in search.get("data", ())]}, digests)


@cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads((resources.files("ptsam_auto.training") / "defaults.toml").read_text(encoding="utf-8"))


def _user_defaults() -> dict[str, Any]:
    """Return the content of the lab's own file; {} if there is none."""
    return content_of(user_file())


def content_of(path: Path) -> dict[str, Any]:
    """Return the content of a file of default settings; {} if there is none.

    Raises:
        ConfigError: The file is something else.
    """
    try:
        content = tomllib.loads(read_utf8(path, MOST_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}.\nCorrect or delete this file; it holds your own defaults."
        ) from None
    for family, blocks in content.items():
        if family not in _shipped():
            raise ConfigError(f"{path}: there is no backbone {family}; expected one of {', '.join(_shipped())}.")
        for name, of_name in _table(blocks, f"{path}: {family}").items():
            where = f"{path}: {family}.{name}"
            if name == "like":  # Only the built-in file has a use for it.
                continue
            if name == "adapt":
                _check_choice(of_name, where)
            elif name == SEARCHED:
                _check_searched(of_name, where)
            elif name in ADAPTATIONS:
                _check(of_name, where)
            else:
                for adapt, block in _table(of_name, where).items():
                    (_check_searched if adapt == SEARCHED else _check)(block, f"{where}.{adapt}")
    return content


def _table(content: object, where: str) -> dict[str, Any]:
    """Return a table of a TOML file.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a table, found {content!r}.")
    return content


def _check_choice(content: object, where: str) -> None:
    """Check the entry that says what to adapt on each kind of hardware."""
    entry = _table(content, where)
    if not all(entry.get(device) in ADAPTATIONS for device in DEVICES) or not isinstance(entry.get("source"), str):
        raise ConfigError(
            f"{where}: expected {{ cpu = ..., cuda = ..., source = ... }}, each {' or '.join(ADAPTATIONS)}."
        )


def _check_searched(content: object, where: str) -> None:
    """Check the metadata of the searches, by adaptation, as far as they are used."""
    for adapt, search in _table(content, where).items():
        try:
            check(_table(search, f"{where}.{adapt}"))
        except (RecordError, TypeError) as error:  # TOML has types, such as dates, that JSON has not.
            raise ConfigError(f"{where}.{adapt}: {error}.") from None


def _check(block: object, where: str) -> None:
    if not isinstance(block, dict):
        raise ConfigError(f"{where}: expected settings.")
    for setting, entry in block.items():
        if not isinstance(entry, dict) or "value" not in entry or not isinstance(entry.get("source"), str):
            raise ConfigError(f"{where}, {setting}: expected {{ value = ..., source = ... }}.")


def _family(name: str) -> dict[str, Any]:
    """Merge the blocks of a backbone: those of its "like" backbone, then its own, then those of the lab's file."""
    shipped = _shipped()[name]
    base = _family(shipped["like"]) if "like" in shipped else {}
    return _merge(_merge(base, shipped), _user_defaults().get(name, {}))


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested blocks. An entry of `upper` replaces an entry of `lower` with the same name completely."""
    merged = dict(lower)
    for key, value in upper.items():
        is_block = isinstance(value, dict) and key != "adapt" and not ("value" in value or "search" in value)
        merged[key] = _merge(merged.get(key, {}), value) if is_block else value
    return merged
