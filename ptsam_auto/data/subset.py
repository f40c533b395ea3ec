"""A smaller folder from a larger one, as experiments with 16 training images need it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ptsam_auto.data.folder import load, pages_of
from ptsam_auto.data.formats import recognise
from ptsam_auto.data.formats.layout import Entry, Listing, MaskFile
from ptsam_auto.errors import ConfigError, DatasetError, OutputError, Problem

SPLITS = "splits.json"


def listed_names(folder: Path, list_name: str) -> tuple[str, ...]:
    """Return a list of image names from the folder's splits.json, such as {"train": ["a07", "b02"]}.

    Raises:
        DatasetError: the file or the list is missing or broken.
    """
    try:
        content = json.loads((folder / SPLITS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f'missing; expected a file with a list "{list_name}" of image names'
        raise DatasetError(folder, [Problem(SPLITS, what)]) from error
    except OSError as error:
        raise DatasetError(folder, [Problem(SPLITS, f"cannot be opened: {error.strerror}")]) from error
    except ValueError as error:
        raise DatasetError(folder, [Problem(SPLITS, f"not valid JSON: {error}")]) from error
    lists = content if isinstance(content, dict) else {}
    lists = {key: value for key, value in lists.items() if isinstance(value, list)}
    if list_name not in lists:
        known = ", ".join(lists) or "none"
        what = f'no list "{list_name}"; its lists are: {known}'
        raise DatasetError(folder, [Problem(SPLITS, what)], "Choose one of its lists, then run the command again.")
    return tuple(str(name) for name in lists[list_name])


def write_subset(
    folder: Path, out: Path, *, names: Sequence[str] | None = None, first: int | None = None
) -> tuple[str, ...]:
    """Write images/ and masks/ with some of a dataset's images, and return their names.

    Files are copied byte for byte where one file is one image or one mask; pages of stacks, images in
    several files and masks from outlines are written as PNG, with the pixels that `read_folder` sees.
    Images that are not chosen are not opened, and need not be sound.

    Args:
        folder: in any layout that formats/ reads.
        out: a folder that is empty or does not exist.
        names: in the order that `first` counts in; None for all, by name. A page of a stack is NAME_p000.
        first: how many, at least 1; None for all.

    Raises:
        ConfigError: first is below 1.
        DatasetError: a name is not in the dataset, or a chosen image cannot be used.
        OutputError: out holds something, or cannot be written.
    """
    if first is not None and first < 1:
        raise ConfigError(f"the number of images is {first}; expected at least 1")
    listing = recognise(folder).read(folder)
    if not listing.entries:
        raise DatasetError(folder, listing.problems or [Problem("", "no images with masks")])
    chosen = _all(listing, folder, first) if names is None else _named(listing, folder, names)[:first]
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} already holds something; expected an empty or a new folder. Choose another.")
        for part in ("images", "masks"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for entry, name, page in chosen:
            _write(entry, name, page, out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}. Choose another folder.") from error
    return tuple(name for _, name, _ in chosen)


Chosen = tuple[Entry, str, int]  # an entry, and the name and number of one of its pages


def _all(listing: Listing, folder: Path, first: int | None) -> list[Chosen]:
    chosen: list[Chosen] = []
    for entry in listing.entries:
        chosen += _pages(entry, folder)
        if first is not None and len(chosen) >= first:
            break
    return chosen[:first]


def _named(listing: Listing, folder: Path, names: Sequence[str]) -> list[Chosen]:
    entries = {entry.name: entry for entry in listing.entries}
    chosen: list[Chosen] = []
    missing: list[Problem] = []
    for name in dict.fromkeys(names):
        entry = entries.get(name) or entries.get(name.rpartition("_p")[0])
        found = [] if entry is None else [page for page in _pages(entry, folder) if name in (entry.name, page[1])]
        chosen += found
        if not found:
            missing.append(Problem(name, "chosen, but not among the images with masks"))
    if missing:
        raise DatasetError(folder, missing, "Correct the list or add these images, then run the command again.")
    return chosen


def _pages(entry: Entry, folder: Path) -> Iterator[Chosen]:
    for name, page in pages_of(entry, folder):
        yield entry, name, page


def _write(entry: Entry, name: str, page: int, out: Path) -> None:
    sample = None
    single = name == entry.name
    if single and len(entry.image.files) == 1:
        original = entry.image.files[0]
        shutil.copyfile(original, out / "images" / f"{name}{original.suffix}")
    else:
        sample = load(entry, page, name)
        Image.fromarray(sample.image).save(out / "images" / f"{name}.png")
    if single and isinstance(entry.mask, MaskFile) and entry.mask.ignored is None:
        shutil.copyfile(entry.mask.file, out / "masks" / f"{name}{entry.mask.file.suffix}")
    else:
        mask = sample.mask if sample else entry.mask.read(page)
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(out / "masks" / f"{name}.png")
