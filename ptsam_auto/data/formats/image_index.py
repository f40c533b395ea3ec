"""Finds the images of a folder by their names in annotation files, which may come from another computer."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath

from ptsam_auto.data.formats.layout import JUNK
from ptsam_auto.data.names import base
from ptsam_auto.data.raster import named_as_image

# Additions to file names by uploads and exports: Label Studio's prefix, Roboflow's suffix. Eight digits may be a date.
UPLOADED = re.compile(r"^(?=[0-9]{0,7}[a-f])[0-9a-f]{8}(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?[-_](?=.)", re.IGNORECASE)
EXPORTED = re.compile(r"^(?P<stem>.+)_(?P<suffix>png|jpe?g|bmp|tiff?)\.rf\.[0-9a-f]{8,}\.\w+$", re.IGNORECASE)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "data")
Fit = tuple[int, bool, bool]  # number of equal parts of the paths, whether one path is complete, same case of letters
NO_FIT: Fit = (0, False, False)


class ImageIndex:
    """The image files of a folder, including subfolders.

    Args:
        folder: The user's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _images_below(folder)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_original: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        inner = {file.relative_to(folder).parts[0] for file in self.files}
        self._image_roots = sorted(name for name in inner if name.lower() in IMAGE_FOLDERS)
        for file in self.files:
            self._by_name[_key(file.name)].append(file)
            self._by_original[_key(original_name(file.name))].append(file)
            for stem in {_key(file.stem), _key(base(file.stem))}:
                self._by_stem[stem].append(file)

    def find(self, stated: str, beside: Path) -> list[Path]:
        """Return the files that fit a stated name: one if the name is unique, otherwise several.

        All parts of a path must fit: "b/000.png" is not a/000.png. Differences in upper and lower case, in the Unicode
        form, and in additions by an upload are accepted if only one file fits.

        Args:
            stated: Name or path of the image in the annotation file, with either kind of slash.
            beside: Folder of the annotation file.
        """
        path = PureWindowsPath(stated)  # takes both kinds of slash
        parts = [part for part in path.parts if part != path.anchor]
        if ".." in parts:
            parts = parts[len(parts) - parts[::-1].index("..") :]
        if not parts:
            return []
        exact = self._fitting(self._by_name[_key(parts[-1])], parts, beside)
        if exact:
            return exact
        original = [*parts[:-1], original_name(parts[-1])]
        uploaded = [file for file in self._by_original[_key(parts[-1])] if _key(file.name) != _key(parts[-1])]
        return self._fitting([*self._by_name[_key(original[-1])], *uploaded], original, beside)

    def called(self, stem: str, near: Path) -> list[Path]:
        """Return the images of this name, with or without suffix; if some are in the folder `near`, only those."""
        found = self._by_name[_key(stem)] or self._by_stem[_key(stem)]
        return [file for file in found if file.parent == near] or found

    def _fitting(self, files: Sequence[Path], parts: Sequence[str], beside: Path) -> list[Path]:
        best: list[Path] = []
        most = NO_FIT
        roots = (self.folder, *(self.folder / name for name in self._image_roots), beside)
        for file in files:
            score = max(_fit(file, root, parts) for root in roots)
            if score > most:
                best, most = [], score
            if score == most and score > NO_FIT:
                best.append(file)
        return best


def original_name(name: str) -> str:
    """Return a file's name before its upload: a.png for 1a2b3c4d-a.png and for a_png.rf.0123456789abcdef.jpg."""
    exported = EXPORTED.match(name)
    if exported:
        return f"{exported['stem']}.{exported['suffix']}"
    return UPLOADED.sub("", name)


def names_of(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each image: its stem, with the folders in front if several folders use the same stem.

    Args:
        files: Image files of one folder, including subfolders.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_stem[file.stem.casefold()].append(file)
    names = {}
    for same in by_stem.values():
        common = len(PurePath(os.path.commonpath([file.parent for file in same])).parts)
        folders = {file.parent for file in same}
        for file in same:
            front = file.parent.parts[common:] if len(folders) > 1 else ()
            names[file] = "_".join((*front, file.stem))
    return names


def _fit(file: Path, root: Path, parts: Sequence[str]) -> Fit:
    """Return how well a file's path relative to a folder fits a stated path; NO_FIT if the paths contradict."""
    try:
        own = file.relative_to(root).parts
    except ValueError:
        return NO_FIT
    shared = min(len(own), len(parts))
    if [_key(part) for part in own[-shared:-1]] != [_key(part) for part in parts[-shared:-1]]:
        return NO_FIT
    return (shared, len(own) <= len(parts), own[-1] == parts[-1])


def _images_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in JUNK)
        found += [
            Path(place) / name
            for name in sorted(files)
            if not name.startswith(".") and named_as_image(Path(place) / name)
        ]
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
