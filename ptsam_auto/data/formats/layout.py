"""What a reader of a layout finds: which image belongs to which mask, without opening either."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ptsam_auto.data.decode import count_pages
from ptsam_auto.data.images import SUFFIXES, SUFFIXES_IN_WORDS, read_image, read_mask
from ptsam_auto.errors import DatasetError, Problem

JUNK = ("thumbs.db", "desktop.ini", "__macosx")
SIDECARS = (".csv", ".ini", ".json", ".md", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml")


@dataclass(frozen=True)
class ImageFiles:
    """An image in one file, or in one file a channel.

    Args:
        files: at least one; of several, the first three are red, green and blue.
    """

    files: tuple[Path, ...]

    def label(self, root: Path) -> str:
        """Return what messages call it."""
        return relative(self.files[0], root)

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError where the file cannot be opened."""
        return count_pages(self.files[0])

    def read(self, page: int) -> np.ndarray:
        """Return H W 3, uint8, RGB; raises DatasetError where a file cannot be decoded."""
        if len(self.files) == 1:
            return read_image(self.files[0], page)
        channels = [read_image(file, page)[..., 0] for file in self.files[:3]]
        for file, channel in zip(self.files, channels, strict=False):
            if channel.shape != channels[0].shape:
                found, expected = size_in_words(channel), size_in_words(channels[0])
                what = f"{found}, but {self.files[0].name}, its first channel, is {expected}"
                raise DatasetError(file.parent, [Problem(file.name, what)])
        channels += [np.zeros_like(channels[0])] * (3 - len(channels))
        return np.stack(channels, axis=-1)


class MaskSource(Protocol):
    """Where a mask comes from: a file of its own, or outlines in someone else's."""

    def label(self, root: Path) -> str:
        """Return what messages call it."""

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError where the file cannot be opened."""

    def read(self, page: int) -> np.ndarray:
        """Return H W, bool; raises DatasetError where it cannot be decoded."""


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file of its own.

    Args:
        file: PNG, JPEG, BMP or TIFF.
        ignored: a label that is not foreground, or None.
    """

    file: Path
    ignored: int | None = None

    def label(self, root: Path) -> str:
        """Return what messages call it."""
        return relative(self.file, root)

    def count_pages(self) -> int:
        """Return the number of pages; raises DatasetError where the file cannot be opened."""
        return count_pages(self.file, planes_are_channels=False)

    def read(self, page: int) -> np.ndarray:
        """Return H W, bool; raises DatasetError where it cannot be decoded."""
        return read_mask(self.file, page, ignored=self.ignored)


@dataclass(frozen=True)
class Entry:
    """An image and its mask, neither opened so far; a stack is one entry of several pages."""

    name: str
    image: ImageFiles
    mask: MaskSource


@dataclass(frozen=True)
class Listing:
    """What a folder holds by its file names: entries in the order of their names, and what does not match."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


class Layout(Protocol):
    """A habit of arranging images and masks; each module beside this one is one."""

    NAME: str
    SKETCH: str

    def detect(self, folder: Path) -> bool:
        """Say whether the folder follows this layout, from names and JSON alone."""

    def read(self, folder: Path) -> Listing:
        """Match images and masks; raises DatasetError where there is nothing to match."""


def visible(folder: Path) -> list[Path]:
    """Return what the folder holds, by name; hidden files and what operating systems leave behind are skipped.

    Raises:
        DatasetError: the folder cannot be opened.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        what = f"cannot be opened: {error.strerror}"
        raise DatasetError(folder, [Problem("", what)], "Make it readable, then run the command again.") from error
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in JUNK]


def subfolder(folder: Path, name: str) -> Path | None:
    """Return the folder's subfolder of this name, whatever its case, or None."""
    return next((path for path in visible(folder) if path.name.lower() == name.lower() and path.is_dir()), None)


def image_files(folder: Path, root: Path) -> tuple[list[Path], list[Problem]]:
    """Return the image files directly in a folder, and a problem for each file of a format that is not read.

    Text beside images (notes, tables, settings) is left alone.

    Raises:
        DatasetError: the folder cannot be opened.
    """
    files = [path for path in visible(folder) if not path.is_dir()]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    strange = [path for path in files if path.suffix.lower() not in (*SUFFIXES, *SIDECARS)]
    return images, [
        Problem(relative(p, root), f"not a format that is read; expected {SUFFIXES_IN_WORDS}") for p in strange
    ]


def relative(path: Path, root: Path) -> str:
    """Return the path as messages show it."""
    return path.relative_to(root).as_posix()


def size_in_words(array: np.ndarray) -> str:
    """Return "width x height px" of an H W or H W C array."""
    return f"{array.shape[1]} x {array.shape[0]} px"


def grouped(files: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Return the files by the name of the image that they belong to."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[name(file)].append(file)
    return dict(groups)


def match(
    root: Path,
    images: Mapping[str, Sequence[ImageFiles]],
    masks: Mapping[str, Sequence[MaskFile]],
    *,
    mask_of: Callable[[str], str],
    image_of: Callable[[str], str],
) -> Listing:
    """Bring images and masks of one name together.

    Args:
        root: the user's folder.
        images: by name; more than one of a name is a problem.
        masks: by the name of their image; more than one of a name is a problem.
        mask_of: the path where the mask of a name is expected, for messages.
        image_of: the path where the image of a name is expected, for messages.
    """
    problems = []
    for found in images.values():
        problems += [
            Problem(other.label(root), f"has the same name as {found[0].label(root)}; rename one")
            for other in found[1:]
        ]
    for name, marked in masks.items():
        image = f"the image {images[name][0].label(root)}" if name in images else f"an image {image_of(name)}"
        what = f"a second mask for {image}, beside {marked[0].label(root)}; keep one"
        problems += [Problem(other.label(root), what) for other in marked[1:]]
    if images and not masks:
        example = mask_of(min(images))
        problems.append(Problem("", f"no masks; expected one for each of {_count(images)}, such as {example}"))
    elif masks and not images:
        example = image_of(min(masks))
        problems.append(Problem("", f"no images; expected one for each of {_count(masks)}, such as {example}"))
    else:
        bare = [name for name in images if name not in masks]
        problems += [Problem(images[name][0].label(root), f"no mask; expected {mask_of(name)}") for name in bare]
        stray = [name for name in masks if name not in images]
        problems += [Problem(masks[name][0].label(root), f"no image; expected {image_of(name)}") for name in stray]
    common = sorted(set(images) & set(masks))
    return Listing(tuple(Entry(name, images[name][0], masks[name][0]) for name in common), tuple(problems))


def _count(found: Mapping[str, Sequence[ImageFiles]] | Mapping[str, Sequence[MaskFile]]) -> str:
    return f"{len(found)} file{'s' if len(found) > 1 else ''}"
