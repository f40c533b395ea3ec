"""The legend classes.json: the names of the classes, and the values that each has in the masks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.files import read_utf8

LEGEND_FILE = "classes.json"
EXPECTED = (
    'expected {"NAME": VALUE, ...}, {"VALUE": "NAME", ...} or ["NAME of value 0", "NAME of value 1", ...], where a '
    "value is a number or a colour such as #ff0000"
)
MOST_BYTES = 1_000_000
VALUE_KEYS = ("value", "color", "colour", "id")


def legend_of(classes: Sequence[str]) -> dict[str, int]:
    """Return the legend of masks of class numbers as classes.json has it: 0 is background, classes count from 1."""
    return {"background": 0, **{name: number for number, name in enumerate(classes, start=1)}}


def read_legend(folder: Path) -> dict[str, tuple[str, ...]] | None:
    """Return the name of each class with the texts of its mask values, or None if the folder has no legend.

    Args:
        folder: Folder of annotated images. A classes.json that names at least one class is its legend.

    Raises:
        DatasetError: The file cannot be read, or is not a legend.
    """
    path = folder / LEGEND_FILE
    if not path.is_file():
        return None
    try:
        legend = _legend(json.loads(read_utf8(path, MOST_BYTES)))
    except OSError as error:
        raise DatasetError(folder, [Problem(LEGEND_FILE, f"cannot be opened: {error.strerror}")]) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(folder, [Problem(LEGEND_FILE, f"{error}; {EXPECTED}")]) from error
    if not legend:
        raise DatasetError(folder, [Problem(LEGEND_FILE, f"names no class; {EXPECTED}")])
    return legend


def _legend(content: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401 - JSON
    if isinstance(content, dict) and set(content) == {"classes"}:
        content = content["classes"]
    if isinstance(content, list) and all(isinstance(one, dict) for one in content):
        return _described(content)
    if isinstance(content, list):
        content = {str(value): name for value, name in enumerate(content)}
    if not isinstance(content, dict):
        raise ValueError("not a legend")
    if content and all(_is_value(key) and isinstance(name, str) for key, name in content.items()):
        named: dict[str, tuple[str, ...]] = {}
        for value, name in content.items():
            named[name] = (*named.get(name, ()), value)
        return named
    return {name: _texts(name, value) for name, value in content.items()}


def _described(classes: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the legend of a list such as [{"name": "cell", "value": 1}, ...], where a colour may be the value."""
    legend = {}
    for one in classes:
        value = next((one[key] for key in VALUE_KEYS if key in one), None)
        if not isinstance(one.get("name"), str) or value is None:
            raise ValueError(f"an entry has no name, or none of {', '.join(VALUE_KEYS)}")
        legend[one["name"]] = _texts(one["name"], value)
    return legend


def _is_value(text: str) -> bool:
    return text.startswith("#") or text.replace(".", "", 1).isdecimal()


def _texts(name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int | float | str) or not _is_value(str(one)):
            raise ValueError(f"the value of {name} is {str(one)[:20]}")
    return tuple(str(one) for one in values)
