"""Groups of images that stay in the same part of every split: pages of a stack, slices of a patient, near-duplicates.

It also reads the split that the user has chosen: splits.json, splits.csv, or folders with names such as train and val.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.leaks import nearly_same
from ptsam_auto.data.names import SPLIT_FOLDERS
from ptsam_auto.errors import ConfigError, DatasetError, Problem
from ptsam_auto.files import read_utf8

GROUPS, SPLITS, SPLITS_TABLE = "groups.csv", "splits.json", "splits.csv"
# NAME_slice_04, NAME-z12, NAME_t003, NAME_p2: numbered parts of NAME
NUMBERED = re.compile(
    r"(?P<group>.*\d.*?|.+?)[-_ ]*(?:slice|frame|page|tile|view|field|fov|site|crop|patch|pos|z|t|s|p|f)[-_ ]?\d+$",
    re.IGNORECASE,
)
PLACED = re.compile(r"(?P<group>.+?)[-_ ]*\[[^\]]*x=\d+[^\]]*\]$", re.IGNORECASE)  # QuPath's tiles
FEWEST_ALIKE = 2
MOST_BYTES = 20_000_000  # of splits.json
PAGE = re.compile(r"_p\d{3,}$")  # `pages.pages_of` adds this to the name of a stack


@dataclass(frozen=True)
class Grouping:
    """Groups and parts of the pairs of a folder.

    Args:
        pairs: Pairs with their groups and parts.
        lines: Descriptions of the groups and of their source.
        split: Source of the split that the user has chosen, or "".
    """

    pairs: tuple[Pair, ...]
    lines: tuple[str, ...]
    split: str


def grouped(folder: Path, pairs: Sequence[Pair], groups: str) -> Grouping:
    """Find the group and the part of each pair.

    Args:
        folder: The user's folder; its groups.csv, splits.json and splits.csv are read.
        pairs: Pairs of the folder; the group of the pages of a stack is the name of the stack.
        groups: Path of a CSV file with the columns name and group, a regular expression whose first group is the name
            of the group, or "".

    Raises:
        DatasetError: A list cannot be read, or names images that do not exist.
        ConfigError: The regular expression is not valid.
    """
    lines: list[str] = []
    stacks = {pair.group for pair in pairs if pair.group}
    if stacks:
        lines.append(f"pages of one stack stay together (stacks: {len(stacks)})")
    named, why = _named_groups(folder, [pair.name for pair in pairs], groups)
    if named:
        lines.append(f"{len(set(named.values()))} groups, {why}")
    else:
        proposed = proposal([pair.name for pair in pairs if not pair.group])
        if proposed:
            lines.append(proposed)
    joined = _joined(pairs, named)
    near = [(a, b) for a, b in nearly_same(pairs) if _root(joined, a) != _root(joined, b)]
    if near:
        for first, second in near:
            one, other = _root(joined, first), _root(joined, second)
            joined[max(one, other)] = min(one, other)
        lines.append(f"{len({place for two in near for place in two})} images are nearly the same as another one")
    roots = [_root(joined, place) for place in range(len(pairs))]
    sizes = {root: roots.count(root) for root in roots}
    names = [
        pairs[root].group or named.get(pairs[root].name, "") or pairs[root].name if sizes[root] > 1 else ""
        for root in roots
    ]
    parts, split = _parts(folder, pairs)
    if len(pairs) > 1 and len(set(roots)) == 1:
        lines.append("all images are one group: held-out scores will look better than they are")
    changed = tuple(replace(p, group=g, part=part) for p, g, part in zip(pairs, names, parts, strict=True))
    return Grouping(changed, tuple(lines), split)


def proposal(names: Sequence[str]) -> str:
    """Return a description of the groups that the names suggest and of the option to use them; "" if there are none."""
    for pattern in (NUMBERED, PLACED):
        found = [matched["group"] for name in names if (matched := pattern.fullmatch(name))]
        several = {group for group in found if found.count(group) >= FEWEST_ALIKE}
        if len(several) > 1 and len(found) > len(names) / 2:
            example = min(several)
            expression = r"(.+?)[-_ ]*\[.*" if pattern is PLACED else r"(.*\d.*?)[-_].*\d+"
            return (
                f"names suggest {len(several)} groups such as {example} ({found.count(example)} images); to keep them "
                f'on one side of the split: --groups "{expression}", or a {GROUPS} with the columns name and group'
            )
    return ""


def _joined(pairs: Sequence[Pair], named: Mapping[str, str]) -> list[int]:
    """Return for each pair the index of the first pair of its group."""
    first: dict[str, int] = {}
    joined = []
    for place, pair in enumerate(pairs):
        key = named.get(pair.name) or (f"stack {pair.group}" if pair.group else f"alone {place}")
        joined.append(first.setdefault(key, place))
    return joined


def _root(joined: list[int], place: int) -> int:
    while joined[place] != place:
        place = joined[place]
    return place


def _named_groups(folder: Path, names: Sequence[str], groups: str) -> tuple[dict[str, str], str]:
    """Return the groups that the user has chosen, by the names of the images, and their source."""
    path = Path(groups) if groups else folder / GROUPS
    if path.is_file():
        rows = _rows(path, ("name", "group"))
        unknown = [row["name"] for row in rows if not _covers(row["name"], names)]
        if unknown:
            what = f"names {', '.join(unknown[:3])}, which are not among the images with masks"
            raise DatasetError(path.parent, [Problem(path.name, what)], "Correct the list, then run the command again.")
        return {n: row["group"] for row in rows for n in names if _is(row["name"], n)}, f"as {path.name} says"
    if not groups:
        return {}, ""
    if groups.endswith(".csv"):
        raise ConfigError(f"there is no file {groups}; expected a CSV file with the columns name and group")
    try:
        expression = re.compile(groups)
    except re.error as error:
        raise ConfigError(f"{groups} is neither a CSV file nor a regular expression: {error}") from None
    if expression.groups < 1:
        raise ConfigError(f"the expression {groups} has no part in brackets, which would be the group's name")
    found = {name: matched[1] for name in names if (matched := expression.match(name)) and matched[1]}
    if not found:
        raise ConfigError(f"the expression {groups} matches no image's name, such as {names[0] if names else ''}")
    return found, f"as {groups} matches"


def _parts(folder: Path, pairs: Sequence[Pair]) -> tuple[list[str], str]:
    """Return the part of the split that the user has chosen for each pair, and the source of this choice."""
    if any(pair.part for pair in pairs):
        return [pair.part for pair in pairs], "as the folders are called"
    lists, where = _lists(folder)
    sides = {name: side for key, names in lists.items() if (side := SPLIT_FOLDERS.get(key.lower())) for name in names}
    parts = [next((side for name, side in sides.items() if _is(name, pair.name)), "") for pair in pairs]
    if "train" not in parts or "held out" not in parts:
        return [""] * len(pairs), ""
    rest = parts.count("")
    return parts, f"as {where} says" + (f"; {rest} images that it does not name are trained on" if rest else "")


def _lists(folder: Path) -> tuple[dict[str, list[str]], str]:
    """Return the user's lists of image names by the name of the list, and the file that contains them."""
    if (folder / SPLITS).is_file():
        try:
            content = json.loads(read_utf8(folder / SPLITS, MOST_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(folder, [Problem(SPLITS, f"not valid JSON: {error}")]) from error
        lists = content if isinstance(content, dict) else {}
        return {key: [str(n) for n in names] for key, names in lists.items() if isinstance(names, list)}, SPLITS
    if (folder / SPLITS_TABLE).is_file():
        lists = {}
        for row in _rows(folder / SPLITS_TABLE, ("name", "split")):
            lists.setdefault(row["split"], []).append(row["name"])
        return lists, SPLITS_TABLE
    return {}, ""


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.read(4096)
            file.seek(0)
            table = csv.DictReader(file, delimiter=";" if start.count(";") > start.count(",") else ",")
            rows = list(table)
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(path.parent, [Problem(path.name, f"cannot be read: {error}")]) from error
    missing = [column for column in columns if column not in (table.fieldnames or ())]
    if missing:
        what = f"has no column {' and '.join(missing)}; expected {' and '.join(columns)}"
        raise DatasetError(path.parent, [Problem(path.name, what)])
    return rows


def _covers(listed: str, names: Sequence[str]) -> bool:
    return any(_is(listed, name) for name in names)


def _is(listed: str, name: str) -> bool:
    """Return whether a listed name is that of this image or of its stack, with or without a suffix such as .png."""
    stack = PAGE.sub("", name)
    return listed in (name, stack) or Path(listed).stem in (name, stack)
