"""Common parts of the format readers: image files are paired with mask files by name, without opening them."""

import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ptsam_auto.data.formats.sources import (
    BlankMask,
    ClassMasks,
    ImageFiles,
    MaskFile,
    MaskSource,
    ObjectMasks,
    relative,
    size_in_words,
)
from ptsam_auto.data.names import JUNK, stem, why_not_read
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import SUFFIXES_IN_WORDS, is_folder, is_ours, named_as_image
from ptsam_auto.errors import DatasetError, Problem

__all__ = [
    "BlankMask",
    "ClassMasks",
    "Entry",
    "ImageFiles",
    "Layout",
    "Listing",
    "MaskFile",
    "MaskSource",
    "ObjectMasks",
    "grouped",
    "image_files",
    "is_ours",
    "match",
    "names_of",
    "relative",
    "size_in_words",
    "subfolder",
    "visible",
]

NOT_READ = f"not a format that is read; expected {SUFFIXES_IN_WORDS}"


@dataclass(frozen=True)
class Entry:
    """An image and its mask, which have not been opened yet; a stack is one entry with several pages.

    Args:
        name: Name that is unique in its folder.
        image: Files of the image.
        mask: Source of the mask.
        part: "train" or "held out" if the folder's name states it, otherwise "".
    """

    name: str
    image: ImageFiles
    mask: MaskSource
    part: str = ""


@dataclass(frozen=True)
class Listing:
    """Images and masks found in a folder, before the images are opened.

    Args:
        entries: Images with masks, in the order of their names.
        problems: Files that do not match; if there is any problem, the folder is rejected.
        notes: Assumptions that are reported to the user, one sentence each.
        left_out: Files that are not used, with the reasons; they are reported to the user.
        pattern: Names of the masks of an image with the name NAME; "" if the layout determines them.
        unmasked: Images without a mask.
        classes: Names of the classes of the masks, in the order of their numbers; () for one class without a name, or
            if the values of the masks decide.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()
    pattern: str = ""
    unmasked: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


class Layout(Protocol):
    """Interface of a format reader; each module of a layout in this folder implements it."""

    NAME: str
    SKETCH: str

    def detect(self, folder: Path) -> bool:
        """Return whether the folder follows this layout, from file names and annotation files alone."""

    def read(self, folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
        """Match images and masks; raises DatasetError if the folder cannot be read."""


def visible(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted by name, without hidden files, system files, pipes and devices.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    return [path for path in _unhidden(folder) if path.name.lower() not in JUNK and not _is_special(path)]


def _is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device; reading one can take for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:  # It is no link, or leads nowhere; opening it says so.
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _unhidden(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        what = f"cannot be opened: {error.strerror}"
        raise DatasetError(folder, [Problem("", what)], "Make it readable, then run the command again.") from error


def subfolder(folder: Path, name: str) -> Path | None:
    """Return the subfolder of this name, in upper or lower case, or None."""
    return next((path for path in visible(folder) if path.name.lower() == name.lower() and is_folder(path)), None)


def image_files(folder: Path, root: Path) -> tuple[list[Path], list[Problem]]:
    """Return the image files directly in a folder, and a reason for each other file that is left out.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    images, left_out = [], []
    for path in _unhidden(folder):
        if is_folder(path):
            continue
        if _is_special(path):
            left_out.append(Problem(relative(path, root), "a pipe, a socket or a device; expected a file"))
        elif path.name.lower() in JUNK:
            left_out.append(Problem(relative(path, root), "left behind by an operating system"))
        elif named_as_image(path):
            images.append(path)
        else:
            left_out.append(Problem(relative(path, root), why_not_read(path) or NOT_READ))
    return images, left_out


def grouped(files: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Return the files, grouped by the name of their image."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[name(file)].append(file)
    return dict(groups)


def match(
    root: Path,
    images: Mapping[str, Sequence[ImageFiles]],
    masks: Mapping[str, Sequence[MaskSource]],
    options: ReadingOptions = DEFAULT,
    *,
    mask_of: Callable[[str], str],
    image_of: Callable[[str], str],
) -> Listing:
    """Pair images and masks with the same name.

    An image without a mask is left out, because it may be intended for prediction. It is a problem if the options say
    so, or if there is also a mask without an image.

    Args:
        root: The user's folder.
        images: Images by name; several images with one name are a problem.
        masks: Masks by the name of their image; several masks with one name are a problem.
        options: Options for images without a mask.
        mask_of: Function that returns the expected path of the mask of a name, for messages.
        image_of: Function that returns the expected path of the image of a name, for messages.
    """
    problems = []
    for same_name in images.values():
        problems += [
            Problem(other.label(root), f"has the same name as {same_name[0].label(root)}; rename one")
            for other in same_name[1:]
        ]
    for name, marked in masks.items():
        image = f"the image {images[name][0].label(root)}" if name in images else f"an image {image_of(name)}"
        what = f"a second mask for {image}, beside {marked[0].label(root)}; keep one"
        problems += [Problem(other.label(root), what) for other in marked[1:]]
    without_mask = [name for name in images if name not in masks]
    without_image = [name for name in masks if name not in images]
    entries = {name: Entry(name, images[name][0], masks[name][0]) for name in set(images) & set(masks)}
    if options.unmasked_are_blank and not without_image:
        entries |= {name: Entry(name, images[name][0], BlankMask(images[name][0])) for name in without_mask}
        without_mask = []
    if images and not entries and not masks:
        example = mask_of(min(images))
        problems.append(Problem("", f"no masks; expected one for each of {_count(images)}, such as {example}"))
    elif masks and not images:
        example = image_of(min(masks))
        problems.append(Problem("", f"no images; expected one for each of {_count(masks)}, such as {example}"))
    else:
        if options.all_annotated or without_image or not entries:
            problems += [
                Problem(images[name][0].label(root), f"no mask; expected {mask_of(name)}") for name in without_mask
            ]
            without_mask = []
        problems += [
            Problem(masks[name][0].label(root), f"no image; expected {image_of(name)}") for name in without_image
        ]
        unmasked = tuple(images[name][0].label(root) for name in sorted(without_mask))
        return Listing(tuple(entries[name] for name in sorted(entries)), tuple(problems), unmasked=unmasked)
    return Listing((), tuple(problems))


def names_of(files: Iterable[Path], root: Path) -> dict[Path, str]:
    """Return the name of each file in the dataset: the folders between `root` and the file, and its stem."""
    return {file: "_".join([*file.parent.relative_to(root).parts, stem(file)]) for file in files}


def _count(found: Mapping[str, Sequence[ImageFiles]] | Mapping[str, Sequence[MaskSource]]) -> str:
    return f"{len(found)} file{'s' if len(found) > 1 else ''}"
