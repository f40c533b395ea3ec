"""Data classes for annotated images: named pairs that are loaded one at a time."""

# H W  size of an image in px; images are RGB uint8, masks are bool (True is foreground), or maps of class numbers

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ptsam_auto.data.understanding import Understanding
from ptsam_auto.errors import DatasetError, Problem


@dataclass(frozen=True)
class Sample:
    """One annotated image in memory.

    Args:
        name: Name that is unique in the dataset; it is also used in file names.
        image: Image, H W 3, uint8, RGB.
        mask: Mask, H W: bool, True is foreground; or with several classes uint8, 0 is background, and class number c
            of `Dataset.classes` is c, counted from 1.
        ignored: H W, bool; True for pixels without annotation, which are ignored in the loss and in scores. None if
            there are none.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    ignored: np.ndarray | None = None

    @property
    def ignored_pixels(self) -> np.ndarray:
        """Return the ignored pixels, H W, bool, also if there are none."""
        return np.zeros(self.mask.shape, bool) if self.ignored is None else self.ignored


@dataclass(frozen=True)
class Pair:
    """An annotated image on disk, checked and ready to load.

    Args:
        name: Name that is unique in the dataset.
        digest: SHA-256 of the decoded image and mask; it identifies the pair independently of its name.
        load: Function that reads image and mask from disk at each call, so that a folder need not fit in memory.
        image_digest: SHA-256 of the decoded image alone, see `image_digest`; it is the same for all annotations of it.
        thumbnail: Thumbnail of the image, see `leaks.thumbnail`; "" if near-duplicates need not be found.
        group: Name of the group; images of one group are in the same part of every split. "" for a group of its own.
        part: "train" or "held out" if the user has decided this; "" if the split decides.
        blank: True if the mask has no foreground.
    """

    name: str
    digest: str
    load: Callable[[], Sample]
    image_digest: str = ""
    thumbnail: str = ""
    group: str = ""
    part: str = ""
    blank: bool = False


@dataclass(frozen=True)
class Dataset:
    """A checked folder.

    Args:
        folder: Path of the folder, as given by the user.
        layout: Name of the layout of the folder, such as "pairs".
        pairs: Annotated images, in the order of their names.
        understanding: Summary of what was read, assumed and left out.
        classes: Names of the classes, in the order of their numbers; () for one class without a name.
    """

    folder: Path
    layout: str
    pairs: tuple[Pair, ...]
    understanding: Understanding = field(default_factory=Understanding)
    classes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all images and masks, independent of file names."""
        return fingerprint(self.pairs)


def with_classes(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Return a dataset whose masks have the numbers of other classes of the same names.

    Args:
        dataset: Dataset that shows some of the classes.
        classes: Names of the classes, in the order of the new numbers.

    Raises:
        DatasetError: The dataset has a class of another name, or one class without a name.
    """
    if dataset.classes == classes:
        return dataset
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown or not dataset.classes:
        found = ", ".join(dataset.classes) or "one class without a name"
        what = f"its classes are {found}; expected {', '.join(classes)}"
        advice = "Name the classes as in the training images (--classes, or classes.json), then run the command again."
        raise DatasetError(dataset.folder, [Problem("", what)], advice)
    numbers = (0, *(classes.index(name) + 1 for name in dataset.classes))
    pairs = tuple(replace(pair, load=partial(_renumbered, pair.load, numbers)) for pair in dataset.pairs)
    return replace(dataset, pairs=pairs, classes=classes)


def _renumbered(load: Callable[[], Sample], numbers: tuple[int, ...]) -> Sample:
    sample = load()
    return replace(sample, mask=np.array(numbers, np.uint8)[sample.mask.astype(np.uint8)])


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of the contents of all pairs, independent of names and order."""
    return hashlib.sha256("".join(sorted(pair.digest for pair in pairs)).encode()).hexdigest()


def content_digest(image: np.ndarray, mask: np.ndarray, ignored: np.ndarray | None = None) -> str:
    """Return the SHA-256 of the pixels of image and mask, and of their shape.

    Args:
        image: Image, H W 3, uint8, RGB.
        mask: Mask, H W, bool or class numbers.
        ignored: Ignored pixels, H W, bool, or None.
    """
    return completed(begun(image, mask.shape), mask, ignored)


def begun(image: np.ndarray, mask_shape: tuple[int, ...]) -> "hashlib._Hash":
    """Return the first half of `content_digest`, for a mask that is not known yet."""
    digest = hashlib.sha256(f"{image.shape} {mask_shape} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest


def completed(digest: "hashlib._Hash", mask: np.ndarray, ignored: np.ndarray | None) -> str:
    """Return the result of `content_digest`, from its first half and the mask."""
    digest = digest.copy()
    digest.update(np.ascontiguousarray(mask).data)
    if ignored is not None and ignored.any():
        digest.update(np.ascontiguousarray(ignored).data)
    return digest.hexdigest()


def image_digest(image: np.ndarray) -> str:
    """Return the SHA-256 of the pixels of an image (H W 3, uint8, RGB), and of their shape."""
    digest = hashlib.sha256(f"{image.shape} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
