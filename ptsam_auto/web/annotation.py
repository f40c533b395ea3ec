"""The images of a folder that is being annotated, with their drafts.

A mask that is being painted is a draft, masks/.drafts/NAME.json, which `fit` does not read. Only when the user says
that it is done, it becomes masks/NAME.png. Each page of a stack is painted as an image of its own; when it is done, it
is saved beside the stack as NAME_p000.tif, so that `fit` finds it. Nothing is written anywhere else.
"""

# H W  rows and columns, px

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptsam_auto.data.formats.layout import image_files
from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.names import IMAGE_FOLDERS, stem
from ptsam_auto.data.raster import is_ours
from ptsam_auto.data.reading import READ_AS_STORED, ImageReading
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.files import write_text
from ptsam_auto.specialist.suggestion import Pick
from ptsam_auto.web.pairs_folder import PairsFolder
from ptsam_auto.web.uploads import check_pixels, mask_of_runs, runs_of_mask

DRAFTS = ".drafts"
"""Subfolder of the masks with the drafts."""
ItemState = Literal["open", "draft", "done"]


@dataclass(frozen=True)
class Item:
    """An image of the folder, or a page of a stack.

    Args:
        name: Name of its file, which is unique; of a page that was not painted yet, the name that its file will have.
        path: Its file; of such a page, that of the stack.
        page: Number of the page in a stack, counted from 0; None in a file that has one page.
    """

    name: str
    path: Path
    page: int | None = None


class AnnotationFolder:
    """The images of a folder, their masks and their drafts.

    Args:
        folder: Folder with the images, or with the images in images/.
        most_pixels: Largest number of pixels of an image.

    Raises:
        DatasetError: There are no images.
        OutputError: The folder is annotated in another way than with a mask for each image.
    """

    def __init__(self, folder: Path, most_pixels: int) -> None:
        if not folder.is_dir():
            raise DatasetError(folder, [Problem("", "no such folder")], "Check the path, then run the command again.")
        inside = PairsFolder(folder).images
        images = inside if inside.is_dir() and image_files(inside, folder)[0] else folder
        self.pairs = PairsFolder(folder, images)
        self._most_pixels = most_pixels
        self._lock = threading.Lock()
        self.left_out: tuple[Problem, ...] = ()
        self.items = self._find()
        self.order: tuple[str, ...] = ()
        if not self.items:
            problems = self.left_out or (Problem("", f"no images, neither here nor in {IMAGE_FOLDERS[0]}/"),)
            raise DatasetError(folder, problems, "Put images into this folder, then run the command again.")

    def get(self, name: str) -> Item | None:
        """Return the image of a name, or None."""
        return self.items.get(name)

    def states(self) -> dict[str, ItemState]:
        """Return the state of each image: open, draft or done. An image with a draft and a mask counts as a draft."""
        done = self.pairs.annotated()
        states: dict[str, ItemState] = {}
        for item in self.items.values():
            states[item.name] = "draft" if self._draft(item).is_file() else "done" if item.path in done else "open"
        return states

    def count_done(self) -> int:
        """Return the number of images that have a mask, which may be changed at this moment."""
        return len(self.pairs.annotated())

    def read(self, item: Item, reading: ImageReading = READ_AS_STORED) -> np.ndarray:
        """Return an image, H W 3, uint8, RGB; raises DatasetError if it cannot be read or is too large."""
        check_pixels(item.path, item.name, self._most_pixels)
        return ImageFiles((item.path,)).known_to(reading).read(item.page or 0, reading)

    def mask(self, item: Item) -> np.ndarray | None:
        """Return the draft of an image, or else its mask, H W, bool; None if it has neither.

        Raises:
            DatasetError: The mask cannot be read.
        """
        draft = self._draft(item)
        if draft.is_file():
            try:
                return mask_of_runs(draft.read_bytes(), self._most_pixels)
            except DatasetError:
                draft.unlink()  # A draft is written as a whole, so that this one is not ours.
        source = self.pairs.source_of(item.path) if item.page is None else None
        return source.read(0) if source else None

    def save_draft(self, item: Item, mask: np.ndarray) -> None:
        """Save a mask that is not done.

        Raises:
            OutputError: The folder cannot be written to.
        """
        path = self._draft(item)
        try:
            with self._lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, json.dumps(runs_of_mask(mask)))
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from None

    def drop_draft(self, item: Item) -> None:
        """Remove the draft of an image, so that it is open, or has the mask that it had before."""
        self._draft(item).unlink(missing_ok=True)

    def finish(self, item: Item, mask: np.ndarray) -> Path:
        """Save the mask of an image, and remove its draft. A page of a stack is saved as an image of its own, too.

        Raises:
            DatasetError: The stack cannot be read any more.
            OutputError: The folder cannot be written to.
        """
        with self._lock:
            if item.page is not None:
                page = self.pairs.add_page(item.path, item.page, item.name)
                self.items[item.name] = item = replace(item, path=page, page=None)
            path = self.pairs.write_mask(item.path, mask)
        self.drop_draft(item)
        return path

    def listed(self) -> list[dict[str, Any]]:
        """Return name and state of each image: those to paint next first, if that is known."""
        states = self.states()
        rank = {name: place for place, name in enumerate(name for name in self.order if states.get(name) != "done")}
        names = sorted(states, key=lambda name: (states[name] == "done", rank.get(name, len(rank)), name))
        return [
            {"name": name, "state": states[name], "rank": rank[name] + 1 if name in rank else None} for name in names
        ]

    def ranked(self, names: Sequence[str], picks: Sequence[Pick]) -> None:
        """Take the order in which images are suggested."""
        self.order = tuple(names[pick.index] for pick in picks)

    def _draft(self, item: Item) -> Path:
        return self.pairs.masks / DRAFTS / f"{item.name}.json"

    def _find(self) -> dict[str, Item]:
        """Return the images by their names; files that cannot be painted on are left out."""
        folder = self.pairs.images
        files, left_out = image_files(folder, folder)
        problems = list(left_out)
        names: dict[str, str] = {}
        found, stacks = {}, {}
        annotated = self.pairs.annotated()
        for path in files:
            pages, what = self._looked_at(path)
            if not what and pages > 1 and path in annotated:
                what = f"a stack of {pages} pages that has a mask already"
            first = names.setdefault(stem(path).casefold(), path.name)
            if not what and first != path.name:
                what = f"would have the same mask as {first}; rename one"
            if what:
                problems.append(Problem(path.name, what))
            elif pages > 1:
                stacks[path] = pages
            else:
                found[path.name] = Item(path.name, path)
        for path, pages in stacks.items():
            for page in range(pages):
                own = f"{stem(path)}_p{page:03d}"
                if own.casefold() not in names:  # Otherwise it was painted before.
                    found[f"{own}.tif"] = Item(f"{own}.tif", path, page)
        self.left_out = tuple(problems)
        return found

    def _looked_at(self, path: Path) -> tuple[int, str]:
        """Return the number of pages of an image, and why it cannot be painted on, or ""."""
        if is_ours(path):
            return 1, "a mask that ptsam-auto predicted"
        try:
            pages = ImageFiles((path,)).count_pages()
            check_pixels(path, path.name, self._most_pixels)
        except DatasetError as error:
            return 1, "; ".join(problem.what for problem in error.problems)
        return pages, ""
