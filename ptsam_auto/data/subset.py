"""Copies a part of a dataset into a new folder, for example for experiments with 16 training images."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ptsam_auto.data.formats import listed
from ptsam_auto.data.formats.layout import Entry, Listing, MaskFile
from ptsam_auto.data.inspection import load
from ptsam_auto.data.meaning import Meaning
from ptsam_auto.data.pages import Page, pages_of
from ptsam_auto.data.reading import READ_AS_STORED
from ptsam_auto.errors import ConfigError, DatasetError, OutputError, Problem
from ptsam_auto.files import read_utf8, replacing, replacing_folder

SPLITS = "splits.json"
MOST_BYTES = 20_000_000  # of splits.json


def listed_names(folder: Path, list_name: str) -> tuple[str, ...]:
    """Return a list of image names from the folder's splits.json, such as {"train": ["a07", "b02"]}.

    Raises:
        DatasetError: The file or the list is missing or damaged.
    """
    try:
        content = json.loads(read_utf8(folder / SPLITS, MOST_BYTES))
    except FileNotFoundError as error:
        what = f'missing; expected a file with a list "{list_name}" of image names'
        raise DatasetError(folder, [Problem(SPLITS, what)]) from error
    except OSError as error:
        raise DatasetError(folder, [Problem(SPLITS, f"cannot be opened: {error.strerror}")]) from error
    except (ValueError, RecursionError) as error:
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

    A file that is one image or one mask is copied byte for byte. Pages of stacks, images in several files and masks
    from outlines are written as PNG, with the pixels that `read_folder` reads. Images that are not selected are not
    opened.

    Args:
        folder: Folder in any layout that formats/ reads.
        out: Output folder, which is empty or does not exist.
        names: Names of the images, in the order in which `first` counts them; None for all images, sorted by name. The
            name of a page of a stack is NAME_p000.
        first: Number of images to write, at least 1; None for all.

    Raises:
        ConfigError: first is below 1.
        DatasetError: A name is not in the dataset, or a selected image cannot be used.
        OutputError: The output folder is not empty, or cannot be written.
    """
    if first is not None and first < 1:
        raise ConfigError(f"the number of images is {first}; expected at least 1")
    _, listing = listed(folder)
    if not listing.entries:
        raise DatasetError(folder, listing.problems or [Problem("", "no images with masks")])
    chosen = _all(listing, folder, first) if names is None else _named(listing, folder, names)[:first]
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} already holds something; expected an empty or a new folder. Choose another.")
        for part in ("images", "masks"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for entry, page in chosen:
            _write(entry, page, out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}. Choose another folder.") from error
    return tuple(page.name for _, page in chosen)


Chosen = tuple[Entry, Page]


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
        pages = [] if entry is None else [page for page in _pages(entry, folder) if name in (entry.name, page[1].name)]
        chosen += pages
        if not pages:
            missing.append(Problem(name, "chosen, but not among the images with masks"))
    if missing:
        raise DatasetError(folder, missing, "Correct the list or add these images, then run the command again.")
    return chosen


def _pages(entry: Entry, folder: Path) -> Iterator[Chosen]:
    entry, pages = pages_of(entry, folder)
    for page in pages:
        yield entry, page


def _write(entry: Entry, page: Page, out: Path) -> None:
    sample = None
    if page.single and len(entry.image.files) == 1:
        original = entry.image.files[0]
        _copy(original, out / "images" / f"{page.name}{original.suffix}")
    else:
        sample = load(entry, page, READ_AS_STORED)
        with replacing(out / "images" / f"{page.name}.png") as unfinished:
            Image.fromarray(sample.image).save(unfinished, format="PNG")
    if page.single and isinstance(entry.mask, MaskFile) and entry.mask.meaning in (None, Meaning()):
        _copy(entry.mask.file, out / "masks" / f"{page.name}{entry.mask.file.suffix}")
        return
    sample = sample or load(entry, page, READ_AS_STORED)
    labels = sample.mask.astype(np.uint8) * np.uint8(255)
    picture = Image.fromarray(labels)
    if sample.ignored is not None:  # PASCAL VOC's palette has a value for ignored pixels
        picture = Image.fromarray(np.where(sample.ignored, 255, sample.mask).astype(np.uint8))
        picture.putpalette([0, 0, 0, 128, 0, 0, *[0] * 3 * 253, 224, 224, 192])
    with replacing(out / "masks" / f"{page.name}.png") as unfinished:
        picture.save(unfinished, format="PNG")


def _copy(original: Path, to: Path) -> None:
    if original.is_dir():  # OME-Zarr
        with replacing_folder(to) as unfinished_folder:
            shutil.copytree(original, unfinished_folder)
        return
    with replacing(to) as unfinished:
        shutil.copyfile(original, unfinished)
