"""Sources of images and masks: one file or several, which are opened only when they are read."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ptsam_auto.data.images import look_at_image, planes_for, read_mask
from ptsam_auto.data.mask_values import MaskValues
from ptsam_auto.data.meaning import Meaning
from ptsam_auto.data.raster import Pages, Planes, UnfitError, decode, is_ours, pages_of_file, unreadable
from ptsam_auto.data.reading import READ_AS_STORED, ImageReading, Seen
from ptsam_auto.errors import DatasetError, Problem

OURS = "a mask that ptsam-auto predicted, never taken for one drawn by hand; if it was corrected, save it as TIFF"


@dataclass(frozen=True)
class ImageFiles:
    """An image in one file, or with one file per channel.

    Args:
        files: Files of the image, at least one; by default the first three of several are red, green and blue.
        planes: Rule for unnamed planes; None if the reading decides.
    """

    files: tuple[Path, ...]
    planes: Planes | None = None

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return relative(self.files[0], root)

    def pages(self) -> Pages:
        """Return its pages; raises DatasetError if the file cannot be opened."""
        return pages_of_file(self.files[0], planes=self.planes or "guess")

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError if the file cannot be opened."""
        return self.pages().count

    def known_to(self, reading: ImageReading) -> "ImageFiles":
        """Return the image with its unnamed planes as channels, if the reading expects this number of channels."""
        return self if self.planes else replace(self, planes=planes_for(self.files[0], reading))

    def read(self, page: int, reading: ImageReading = READ_AS_STORED) -> np.ndarray:
        """Return the image, H W 3, uint8, RGB; raises DatasetError if a file cannot be decoded."""
        return self.look(page, reading).pixels

    def look(self, page: int, reading: ImageReading = READ_AS_STORED) -> Seen:
        """Return the image and facts about how it was read; raises DatasetError if a file cannot be decoded."""
        if len(self.files) == 1:
            return look_at_image(self.files[0], page, reading, self.planes)
        chosen = reading.channels or tuple(range(1, min(len(self.files), 3) + 1))
        if max(chosen) > len(self.files):
            raise unreadable(self.files[0], f"is one of {len(self.files)} channels, but {max(chosen)} is asked for")
        files = [self.files[number - 1] for number in chosen]
        looks = [
            look_at_image(file, page, _one_channel(reading, place), self.planes) for place, file in enumerate(files)
        ]
        for file, look in zip(files, looks, strict=True):
            if look.pixels.shape != looks[0].pixels.shape:
                found, expected = size_in_words(look.pixels), size_in_words(looks[0].pixels)
                what = f"{found}, but {files[0].name}, its first channel, is {expected}"
                raise DatasetError(file.parent, [Problem(file.name, what)])
        channels = [look.pixels[..., 0] for look in looks]
        channels += [np.zeros_like(channels[0])] * (3 - len(channels))
        return replace(
            looks[0],
            pixels=np.stack(channels, axis=-1),
            stored=len(self.files),
            low=tuple(low for look in looks for low in look.low[:1]),
            high=tuple(high for look in looks for high in look.high[:1]),
        )


def _one_channel(reading: ImageReading, place: int) -> ImageReading:
    """Return the rule for one of several files with one channel each."""
    low, high = (ends[place : place + 1] if len(ends) > 1 else ends for ends in (reading.low, reading.high))
    return replace(reading, channels=(), stored=0, low=low, high=high)


class MaskSource(Protocol):
    """Source of a mask: a mask file, or outlines in an annotation file."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers; () for one class, or if it does not know."""

    def label(self, root: Path) -> str:
        """Return its name for messages."""

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError if the file cannot be opened."""

    def read(self, page: int) -> np.ndarray:
        """Return the mask, H W, bool or class numbers; raises DatasetError if it cannot be decoded."""


@dataclass(frozen=True)
class MaskFile:
    """A mask in its own file.

    Args:
        file: PNG, JPEG, BMP or TIFF file.
        meaning: Meaning of its values; None if it is decided from all masks of the folder.
    """

    file: Path
    meaning: Meaning | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Return (): the meaning of the values decides."""
        return ()

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return relative(self.file, root)

    def pages(self) -> Pages:
        """Return its pages; raises DatasetError if the file cannot be opened."""
        return pages_of_file(self.file, planes="pages")

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError if the file cannot be opened."""
        return self.pages().count

    def values(self, page: int, label: str, image: Seen | None = None) -> tuple[MaskValues, int]:
        """Return the values of the mask, and the orientation that was applied.

        Args:
            page: Number of the page, counted from 0.
            label: Name of the mask for messages.
            image: Image of the mask, if it is known.

        Raises:
            DatasetError: The file cannot be decoded, was predicted by ptsam-auto, or its values are not those of a
                mask.
        """
        raster = decode(self.file, page, planes="pages")
        if raster.ours:
            raise unreadable(self.file, OURS)
        same_size = image is not None and image.pixels.shape[:2] == raster.values.shape[:2]
        try:
            return MaskValues.of(raster, label, image.pixels if image and same_size else None), raster.orientation
        except UnfitError as error:
            raise unreadable(self.file, str(error)) from None

    def read(self, page: int) -> np.ndarray:
        """Return the mask as `read_both` does."""
        return self.read_both(page)[0]

    def read_both(self, page: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the mask, H W, bool or class numbers, and the ignored pixels, H W, bool, or None.

        Raises:
            DatasetError: The file cannot be decoded, or its meaning is not certain.
        """
        if self.meaning is None:
            return read_mask(self.file, page), None
        return self.meaning.of(self.values(page, self.file.name)[0])


@dataclass(frozen=True)
class ObjectMasks:
    """A mask with one file per object.

    Args:
        files: Files of the objects, at least one.
    """

    files: tuple[Path, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Return (): all objects are of one class."""
        return ()

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return relative(self.files[0], root)

    def count_pages(self) -> int:
        """Return 1: the file of an object has one page."""
        return 1

    def read(self, page: int) -> np.ndarray:
        """Return the union of all objects, H W, bool.

        Raises:
            DatasetError: A file cannot be decoded, has another size, or overlaps so much with the others that they may
                be two annotations of the same object.
        """
        joined: np.ndarray | None = None
        for file in self.files:
            if is_ours(file):
                raise unreadable(file, OURS)
            mask = read_mask(file)
            if joined is None:
                joined = np.zeros_like(mask)
            if mask.shape != joined.shape:
                raise unreadable(file, f"{size_in_words(mask)}, but {self.files[0].name} is {size_in_words(joined)}")
            if 2 * np.count_nonzero(mask & joined) > np.count_nonzero(mask) > 0:
                what = "covers what other masks of its image cover; a second annotator's? Keep one annotation an image"
                raise unreadable(file, what)
            joined |= mask
        if joined is None:
            raise ValueError("no files")
        return joined


@dataclass(frozen=True)
class ClassMasks:
    """A mask with one file for each class that the image shows.

    Args:
        classes: Names of all classes, in the order of their numbers.
        files: File of each of them, or None; at least one is a file.
    """

    classes: tuple[str, ...]
    files: tuple[Path | None, ...]

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return relative(next(filter(None, self.files)), root)

    def count_pages(self) -> int:
        """Return 1: the file of a class has one page."""
        return 1

    def read(self, page: int) -> np.ndarray:
        """Return the class numbers, H W, uint8; where classes overlap, see `painted`.

        Raises:
            DatasetError: A file cannot be decoded, or has another size.
        """
        read = {number: read_mask(file) for number, file in enumerate(self.files) if file is not None}
        first = next(iter(read.values()))
        for number, mask in read.items():
            file = self.files[number]
            if mask.shape != first.shape and file is not None:
                raise unreadable(
                    file, f"{size_in_words(mask)}, but the mask of another class is {size_in_words(first)}"
                )
        return painted(read.get(number, np.zeros_like(first)) for number in range(len(self.classes)))


@dataclass(frozen=True)
class BlankMask:
    """The blank mask of an image without foreground, which has no mask file.

    Args:
        image: Image of the mask.
    """

    image: ImageFiles

    @property
    def classes(self) -> tuple[str, ...]:
        """Return (): nothing is marked."""
        return ()

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return self.image.label(root)

    def count_pages(self) -> int:
        """Return the number of pages of the image."""
        return self.image.count_pages()

    def read(self, page: int) -> np.ndarray:
        """Return a mask of False, H W, bool; raises DatasetError if the image cannot be decoded."""
        return np.zeros(self.image.read(page).shape[:2], bool)


def painted(masks: Iterable[np.ndarray]) -> np.ndarray:
    """Return one map of class numbers, H W, uint8, from a mask for each class, H W, bool, in the order of the numbers.

    Where classes overlap, the one with the smaller area is on top, as a nucleus is on its cell.
    """
    numbered = sorted(enumerate(masks, start=1), key=lambda one: -int(one[1].sum()))
    numbers = np.zeros(numbered[0][1].shape, np.uint8)
    for number, mask in numbered:
        numbers[mask] = number
    return numbers


def relative(path: Path, root: Path) -> str:
    """Return the path relative to a folder, for messages."""
    return path.relative_to(root).as_posix()


def size_in_words(array: np.ndarray) -> str:
    """Return "width x height px" of an H W or H W C array."""
    return f"{array.shape[1]} x {array.shape[0]} px"
