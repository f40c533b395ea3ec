"""Reads every file of a folder once, collects all problems, and the facts that are needed to interpret the folder.

Every image and every mask is decoded once. Masks are kept in a compact form until all have been read, because the
meaning of their values is decided for the whole folder.
"""

# H W  size of an image, px

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ptsam_auto.data.dataset import Pair, Sample, begun, completed, image_digest
from ptsam_auto.data.facts import Facts
from ptsam_auto.data.formats.layout import BlankMask, Entry, MaskFile, size_in_words
from ptsam_auto.data.leaks import thumbnail
from ptsam_auto.data.levels import Value
from ptsam_auto.data.mask_values import MaskValues
from ptsam_auto.data.meaning import Meaning
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.orientation import drawn_unturned, turned_wrongly
from ptsam_auto.data.pages import Page, attempt, pages_of
from ptsam_auto.data.reading import ImageReading, Seen
from ptsam_auto.errors import DatasetError, Problem

UNTURNED = (
    "was drawn on the image as it lies in the file, but the image is shown turned (EXIF orientation {}); "
    "turn the mask, or save the image upright"
)


TURNED = "fits its image as it lies in the file, but is shown turned (EXIF orientation {}); save the mask upright"


@dataclass(frozen=True)
class Looked:
    """A page that was read without problems; the meaning of its mask values may not be decided yet.

    Args:
        pair: Pair of image and mask; its digest is still missing.
        entry: Image and mask.
        page: Page of the entry.
        label: Name of the mask in messages.
        begun: First half of the digest of the pair, without the mask.
        mask: Values of the mask in a compact form; for a mask that is not a file, its pixels (bool or class numbers).
        facts: Facts about how the image was read.
    """

    pair: Pair
    entry: Entry
    page: Page
    label: str
    begun: "hashlib._Hash"
    mask: MaskValues
    facts: Facts

    @property
    def unnamed(self) -> list[Value]:
        """Return the values of the mask that its layout does not name, if its layout names values."""
        stated = self.entry.mask.meaning if isinstance(self.entry.mask, MaskFile) else None
        if stated is None:
            return []
        named = (*stated.foreground, *stated.background, *stated.ignored)
        return [value for value in self.mask.values if value not in named]

    def meaning(self, common: Meaning | None) -> Meaning | None:
        """Return the meaning of the mask values: that of the layout, or else the common one of the folder's masks."""
        if not isinstance(self.entry.mask, MaskFile):
            classes = self.entry.mask.classes
            return Meaning(
                classes=tuple((number,) for number in range(1, len(classes) + 1)) if len(classes) > 1 else ()
            )
        stated = self.entry.mask.meaning
        if stated is not None and not stated.classes and self.unnamed and len(self.mask.values) == 2:
            return Meaning((), stated.background, stated.ignored)  # 0 and 255, although the layout names the value 1
        return stated or common


def load(entry: Entry, page: Page, reading: ImageReading) -> Sample:
    """Decode one page of an entry.

    Raises:
        DatasetError: a file cannot be decoded.
    """
    image = entry.image.read(page.image, reading)
    if isinstance(entry.mask, MaskFile):
        return Sample(page.name, image, *entry.mask.read_both(page.mask))
    return Sample(page.name, image, entry.mask.read(page.mask))


class Inspection:
    """Reads the entries of a folder one by one, and then creates its pairs.

    Args:
        folder: The user's folder.
        options: Options for reading the folder.
        reading: Rule by which channels of the images are selected and scaled.
    """

    def __init__(self, folder: Path, options: ReadingOptions, reading: ImageReading) -> None:
        self.folder, self.options, self.reading = folder, options, reading
        self.looked: list[Looked] = []
        self.problems: list[Problem] = []
        self.blank: list[Problem] = []
        self.marked = False  # whether any mask has both foreground and background
        self.stacks = 0
        self._pictures: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._sets: dict[frozenset[Path], str] = {}
        self.repeated: list[Problem] = []

    def entry(self, entry: Entry) -> None:
        """Read the files of an entry."""
        label = entry.image.label(self.folder)
        result = attempt(lambda: pages_of(entry, self.folder), self.folder, self.problems, label)
        if result is None or self._is_known_set(entry, label):
            return
        entry, pages = result
        self.stacks += len(pages) > 1
        for page in pages:
            problems: list[Problem] = []
            suffix = "" if page.single else f" page {page.image}"
            image = attempt(
                partial(entry.image.look, page.image, self.reading), self.folder, problems, f"{label}{suffix}"
            )
            values = attempt(partial(self._values, entry, page, image), self.folder, problems, label)
            self.problems += problems
            if image is None or values is None:
                continue
            self._page(entry, page, image, *values)

    def _values(self, entry: Entry, page: Page, image: Seen | None) -> tuple[MaskValues, int, str]:
        """Return the values of the mask, its own orientation and its label."""
        suffix = "" if page.single else f" page {page.mask}"
        label = entry.mask.label(self.folder) + suffix
        if isinstance(entry.mask, MaskFile):
            return *entry.mask.values(page.mask, label, image), label
        if isinstance(entry.mask, BlankMask) and image is not None:
            mask = np.zeros(image.pixels.shape[:2], bool)
        else:
            mask = entry.mask.read(page.mask)
        return MaskValues.drawn(mask, label), 1, label

    def _page(self, entry: Entry, page: Page, image: Seen, values: MaskValues, turned: int, label: str) -> None:
        own = entry.image.label(self.folder) + ("" if page.single else f" page {page.image}")
        digest = image_digest(image.pixels)
        problems = [*self._of_image(digest, page.name, own, image), *self._of_size(values, image, label, turned)]
        self.problems += problems
        if problems:
            return
        pixels = image.pixels
        pair = Pair(
            page.name,
            "",
            partial(load, entry, page, self.reading),
            digest,
            thumbnail(pixels),
            group="" if page.single else entry.name,
            part=entry.part,
        )
        size = (pixels.shape[1], pixels.shape[0])
        files = len(entry.image.files)
        facts = Facts(own, size, image.dtype, image.stored, files, image.low, image.high, image.constant)
        looked = Looked(pair, entry, page, label, begun(pixels, values.shape), values, facts)
        self.problems += self._of_turn(values, image, label, turned)
        self.looked.append(looked)

    def _of_turn(self, mask: MaskValues, image: Seen, label: str, turned: int) -> Iterator[Problem]:
        """Yield a problem if only image or mask has an orientation and the mask does not fit the image because of it.

        For this test, all values except the one with the largest area count as marked.
        """
        if (image.orientation == 1) == (turned == 1):
            return
        marked = mask.codes() != int(np.argmax(mask.counts))
        if turned == 1 and drawn_unturned(image.pixels, marked, image.orientation):
            yield Problem(label, UNTURNED.format(image.orientation))
        elif image.orientation == 1 and turned_wrongly(image.pixels, marked, turned):
            yield Problem(label, TURNED.format(turned))

    def _is_known_set(self, entry: Entry, label: str) -> bool:
        """Return whether another entry has already read the same OME-TIFF set: each of its files gives all pages."""
        files = entry.image.pages().files
        if not files:
            return False
        key = frozenset(entry.image.files[0].with_name(name) for name in files)
        first = self._sets.setdefault(key, label)
        if first != label:
            self.repeated.append(Problem(label, f"a part of the OME-TIFF set that {first} begins"))
        return first != label

    def _of_image(self, digest: str, name: str, label: str, image: Seen) -> Iterator[Problem]:
        if image.ours:
            yield Problem(label, "a mask that ptsam-auto predicted, rather than an image")
        first = self._names.setdefault(name, label)
        if first != label:
            yield Problem(label, f"is called {name}, as {first} is; rename one file")
        same = self._pictures.setdefault(digest, label)
        if same != label:
            yield Problem(label, f"the same picture as {same}; keep one, or training and test may share it")

    def _of_size(self, mask: MaskValues, image: Seen, label: str, turned: int) -> Iterator[Problem]:
        height, width = mask.shape
        if (height, width) == image.pixels.shape[:2]:
            return
        if (width, height) == image.pixels.shape[:2] and turned == 1 and image.orientation > 4:
            yield Problem(label, UNTURNED.format(image.orientation))
        elif (width, height) == image.pixels.shape[:2] and image.orientation == 1 and turned > 4:
            yield Problem(label, TURNED.format(turned))
        else:
            yield Problem(label, f"{width} x {height} px, but its image is {size_in_words(image.pixels)}")

    def pairs(self, meaning: Meaning | None) -> list[Pair]:
        """Return the pairs, and add a problem for each blank mask.

        Args:
            meaning: Meaning of the values of all masks without a stated meaning; None if it is not certain.
        """
        return [pair for looked in self.looked if (pair := self._pair(looked, meaning)) is not None]

    def _pair(self, looked: Looked, meaning: Meaning | None) -> Pair | None:
        entry, own = looked.entry, looked.meaning(meaning)
        if own is None:
            return None
        if looked.unnamed and len(looked.mask.values) > 2:
            found = ", ".join(map(str, looked.unnamed[:5]))
            self.problems.append(Problem(looked.label, f"holds the value {found}, which is none of the set's labels"))
            return None
        if isinstance(entry.mask, MaskFile):
            entry = replace(entry, mask=replace(entry.mask, meaning=own))
        mask, ignored = own.of(looked.mask)
        blank = not mask.any()
        whole = bool((mask if ignored is None else mask | ignored).all())
        self.marked |= not blank and not whole
        declared = isinstance(entry.mask, BlankMask)
        if (blank or whole) and not self.options.allow_blank and not declared:
            ground = "background" if blank else "foreground"
            what = f"blank: every pixel is {ground}; if that is right, accept it with --allow-blank-masks"
            self.blank.append(Problem(looked.label, what))
            return None
        return replace(
            looked.pair,
            digest=completed(looked.begun, mask, ignored),
            load=partial(load, entry, looked.page, self.reading),
            blank=blank,
        )


def areas(looked: Sequence[Looked], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the fractions of each class, background and ignored pixels of the masks whose meaning is stated."""
    stated = [(one, own) for one in looked if (own := one.meaning(None)) is not None]
    total = sum(sum(one.mask.counts) for one, _ in stated)
    shares: dict[str, int] = {}
    for one, own in stated:
        for value, count in zip(one.mask.values, one.mask.counts, strict=True):
            number = own.number(value, one.mask) if own.classes else 0
            kind = f"class {number}, {classes[number - 1]}" if number else own.kind(value, one.mask)
            shares[kind] = shares.get(kind, 0) + count
    return tuple(f"{kind}: as drawn ({100 * shares[kind] / total:.1f} % of the area)" for kind in sorted(shares))


def failed(folder: Path, problems: list[Problem], advice: str) -> DatasetError:
    """Return the error for a folder with all problems, in the order of its files."""
    ordered = sorted(problems, key=lambda problem: problem.where)
    return DatasetError(folder, ordered, advice) if advice else DatasetError(folder, ordered)
