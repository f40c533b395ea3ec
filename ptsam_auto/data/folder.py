"""A user's folder becomes a Dataset, or one error that names everything wrong with it."""

# H W  an image's own size, px

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ptsam_auto.data.dataset import Dataset, Pair, Sample, content_digest
from ptsam_auto.data.formats import recognise
from ptsam_auto.data.formats.layout import Entry, relative, size_in_words
from ptsam_auto.errors import DatasetError, Problem

T = TypeVar("T")


def read_folder(
    folder: Path, *, allow_blank: bool = False, progress: Callable[[int, int], None] | None = None
) -> Dataset:
    """Read and check a folder of annotated images.

    Every file is decoded once and forgotten again; pairs load anew. Of a stack each page is a pair,
    called NAME_p000 and so on.

    Args:
        folder: in any layout that formats/ reads.
        allow_blank: accept masks that mark nothing or everything, as images without the object have.
        progress: called with (files done, files in all) after each image.

    Raises:
        DatasetError: every problem at once.
    """
    layout = recognise(folder)
    listing = layout.read(folder)
    inspection = _Inspection(folder, allow_blank)
    for done, entry in enumerate(listing.entries, start=1):
        inspection.entry(entry)
        if progress is not None:
            progress(done, len(listing.entries))
    problems = [*listing.problems, *inspection.problems]
    if not problems and not inspection.pairs:
        problems.append(Problem("", f"no images; expected {layout.SKETCH}"))
    if not problems and not inspection.marked:
        problems.append(Problem("", "no mask marks anything; expected some that mark what is to be found"))
    if problems:
        raise DatasetError(folder, sorted(problems, key=lambda problem: problem.where))
    return Dataset(folder, layout.NAME, tuple(sorted(inspection.pairs, key=lambda pair: pair.name)))


def pages_of(entry: Entry, folder: Path) -> list[tuple[str, int]]:
    """Return the name and number of each page of an entry: one page keeps the entry's name.

    Raises:
        DatasetError: a file cannot be opened, or image and mask differ in their pages.
    """
    problems: list[Problem] = []
    image_pages = attempt(entry.image.count_pages, folder, problems)
    mask_pages = attempt(entry.mask.count_pages, folder, problems)
    if image_pages is None or mask_pages is None:
        raise DatasetError(folder, problems)
    if image_pages != mask_pages:
        what = f"{_pages(mask_pages)}, but its image has {_pages(image_pages)}"
        if image_pages == 1 and mask_pages in (2, 3, 4):
            what += "; an image's 2 to 4 unnamed planes are taken for channels: save a stack with its axes (ZYX)"
        raise DatasetError(folder, [Problem(entry.mask.label(folder), what)])
    if image_pages == 1:
        return [(entry.name, 0)]
    return [(f"{entry.name}_p{page:03d}", page) for page in range(image_pages)]


def attempt(read: Callable[[], T], folder: Path, problems: list[Problem]) -> T | None:
    """Return what `read` returns; where it raises a DatasetError, add its problems as seen from `folder`."""
    try:
        return read()
    except DatasetError as error:
        problems += [
            Problem(relative((error.folder or folder) / problem.where, folder), problem.what)
            for problem in error.problems
        ]
        return None


def load(entry: Entry, page: int, name: str) -> Sample:
    """Decode one page of an entry.

    Raises:
        DatasetError: a file cannot be decoded.
    """
    return Sample(name, entry.image.read(page), entry.mask.read(page))


def _pages(count: int) -> str:
    return f"{count} page{'s' if count > 1 else ''}"


class _Inspection:
    """Looks at one entry after the other; keeps good pairs, problems, and what it takes to know a picture again."""

    def __init__(self, folder: Path, allow_blank: bool) -> None:
        self.folder = folder
        self.allow_blank = allow_blank
        self.pairs: list[Pair] = []
        self.problems: list[Problem] = []
        self.marked = False  # does any mask mark anything?
        self._pictures: dict[bytes, str] = {}
        self._names: dict[str, str] = {}

    def entry(self, entry: Entry) -> None:
        pages = attempt(lambda: pages_of(entry, self.folder), self.folder, self.problems) or []
        for name, page in pages:
            image = attempt(partial(entry.image.read, page), self.folder, self.problems)
            mask = attempt(partial(entry.mask.read, page), self.folder, self.problems)
            if image is None or mask is None:
                continue
            suffix = f" page {page}" if len(pages) > 1 else ""
            problems = [
                *self._of_image(image, name, entry.image.label(self.folder) + suffix),
                *self._of_mask(mask, image, entry.mask.label(self.folder) + suffix),
            ]
            self.problems += problems
            if not problems:
                self.pairs.append(Pair(name, content_digest(image, mask), partial(load, entry, page, name)))

    def _of_image(self, image: np.ndarray, name: str, label: str) -> Iterator[Problem]:
        first = self._names.setdefault(name, label)
        if first != label:
            yield Problem(label, f"is called {name}, as {first} is; rename one file")
        picture = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        same = self._pictures.setdefault(picture, label)
        if same != label:
            yield Problem(label, f"the same picture as {same}; keep one, or training and test may share it")

    def _of_mask(self, mask: np.ndarray, image: np.ndarray, label: str) -> Iterator[Problem]:
        if mask.shape != image.shape[:2]:
            yield Problem(label, f"{size_in_words(mask)}, but its image is {size_in_words(image)}")
        blank = not mask.any() or bool(mask.all())
        self.marked |= not blank
        if blank and not self.allow_blank:
            ground = "foreground" if mask.any() else "background"
            yield Problem(
                label, f"blank: every pixel is {ground}; if that is right, accept it with --allow-blank-masks"
            )
