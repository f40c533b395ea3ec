"""Matches the pages of a mask to the pages of its image, by the letters of their axes and not only by their numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ptsam_auto.data.formats.layout import Entry, MaskFile, relative
from ptsam_auto.data.raster import Pages
from ptsam_auto.errors import DatasetError, Problem, PtsamError

T = TypeVar("T")
NAMELESS = "QI"  # tifffile's letters for an axis without a name


@dataclass(frozen=True)
class Page:
    """One page of an entry.

    Args:
        name: Name of the pair.
        image: Number of the page in the image, from 0.
        mask: Number of the page in the mask, from 0.
        single: True if the entry has only this page.
    """

    name: str
    image: int
    mask: int
    single: bool


def pages_of(entry: Entry, folder: Path) -> tuple[Entry, list[Page]]:
    """Return the entry, with the meaning of its image's unnamed planes, and its pages.

    A single page has the name of the entry; the pages of a stack have the names NAME_p000 and so on, in the order of
    the image.

    Raises:
        DatasetError: A file cannot be opened, or image and mask have different pages.
    """
    problems: list[Problem] = []
    image = attempt(entry.image.pages, folder, problems)
    mask = attempt(lambda: _mask_pages(entry), folder, problems)
    if image is None or mask is None:
        raise DatasetError(folder, problems)
    if image.unnamed and mask.count == 1 != image.count:
        as_channels = replace(entry.image, planes="channels")
        entry, image = replace(entry, image=as_channels), as_channels.pages()
    label = entry.mask.label(folder)
    if image.count != mask.count:
        what = f"{_pages(mask.count)}, but its image has {_pages(image.count)}"
        if image.count == 1 and mask.count in (2, 3, 4):
            what += "; an image's 2 to 4 unnamed planes are taken for channels: save a stack with its axes (ZYX)"
        raise DatasetError(folder, [Problem(label, what)])
    if image.directions and mask.directions and image.directions != mask.directions:
        what = f"is stored in the directions {mask.directions}, but its image in {image.directions}; save both alike"
        raise DatasetError(folder, [Problem(label, what)])
    order = _order(image, mask)
    if order is None:
        what = f"its pages are {_axes(mask)}, but those of its image are {_axes(image)}; save both with the same axes"
        raise DatasetError(folder, [Problem(label, what)])
    if image.count == 1:
        return entry, [Page(entry.name, 0, 0, single=True)]
    return entry, [Page(f"{entry.name}_p{i:03d}", i, m, single=False) for i, m in enumerate(order)]


def attempt(read: Callable[[], T], folder: Path, problems: list[Problem], what: str = "") -> T | None:
    """Return the result of `read`, or None if it raises an error, which is added to the problems.

    Args:
        read: Function that may fail.
        folder: Folder; the paths of the problems are relative to it.
        problems: List to which problems are added.
        what: Name of the file, for errors that do not contain it.
    """
    try:
        return read()
    except DatasetError as error:
        for problem in error.problems:
            path = (error.folder or folder) / problem.where
            where = relative(path, folder) if path.is_relative_to(folder) else str(path)
            problems.append(Problem(where, problem.what))
    except PtsamError:  # caused by an option, not by a file
        raise
    except Exception as error:  # a damaged file must not prevent the reading of the others
        problems.append(Problem(what, f"cannot be read: {type(error).__name__} {error}".rstrip()))
    return None


def _mask_pages(entry: Entry) -> Pages:
    if isinstance(entry.mask, MaskFile):
        return entry.mask.pages()
    count = entry.mask.count_pages()
    return Pages("", (count,)) if count > 1 else Pages()


def _order(image: Pages, mask: Pages) -> list[int] | None:
    """Return the mask's page for each page of the image; None if their axes do not match."""
    if image.sizes == mask.sizes and (image.axes == mask.axes or not image.axes or not mask.axes):
        return list(range(mask.count))
    named = [axes for axes in (image.axes, mask.axes) if not set(axes) & set(NAMELESS)]
    if len(named) < 2 or len(image.sizes) == len(mask.sizes) == 1:  # Z or T, or a name on one side only
        return list(range(mask.count)) if image.sizes == mask.sizes else None
    if sorted(image.axes) != sorted(mask.axes):
        return None
    order = [mask.axes.index(axis) for axis in image.axes]
    if tuple(mask.sizes[place] for place in order) != image.sizes:
        return None
    return np.arange(mask.count).reshape(mask.sizes).transpose(order).ravel().tolist()


def _axes(pages: Pages) -> str:
    sizes = " x ".join(map(str, pages.sizes))
    return f"{pages.axes} ({sizes})" if pages.axes else sizes


def _pages(count: int) -> str:
    return f"{count} page{'s' if count != 1 else ''}"
