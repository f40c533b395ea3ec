"""Where pretraining images come from: folders of annotated images, and scenes that we render.

Only lists named "train" are ever opened: what a folder holds out is how we know later whether nano generalises.
"""

# H W  an image's own size in px   n  regions of an image

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ptsam_auto.data.render import render_scene
from ptsam_auto.errors import DatasetError, Problem

Rng = np.random.Generator

HELD_OUT_IMAGES = 40  # of a folder with index.csv; they serve the probe and are never trained on
EXHAUSTIVE_KINDS = frozenset({"components"})  # kinds in index.csv whose 0 is truly ground and whose regions are alike


@dataclass(frozen=True)
class Regions:
    """An image and the regions that people (or our renderer) see in it.

    Args:
        image: H W 3, uint8, RGB.
        labels: H W, int32; 0 is no region, 1 to n are regions.
        kinds: n + 1, int32; kinds[label] says what a region is an example of, kinds[0] is 0. None: not known, so
            nothing can be asked about "all of these".
        ground_known: 0 means that nothing is there, rather than that nobody looked.
    """

    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray | None
    ground_known: bool


class Source(Protocol):
    """Anything that yields images with regions."""

    @property
    def images(self) -> int:
        """How many different images there are; 0 if there is no end to them."""

    def draw(self, rng: Rng, size: int) -> Regions:
        """One of them, chosen by `rng`; `size` is the network's input in px."""


class Scenes:
    """Scenes rendered at the network's own size."""

    images = 0

    def draw(self, rng: Rng, size: int) -> Regions:
        """A fresh scene."""
        scene = render_scene(int(rng.integers(2**62)), size)
        return Regions(scene.image, scene.labels, scene.kinds, ground_known=True)


@dataclass(frozen=True)
class Entry:
    """One image on disk and the label maps of it (any one is drawn at a time)."""

    image: Path
    labels: tuple[Path, ...]
    alike: bool  # all regions are of one kind, and 0 is ground


class Folder:
    """The images of one folder that may be trained on, read at full size whenever they are drawn."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    @property
    def images(self) -> int:
        """How many images may be drawn."""
        return len(self.entries)

    def draw(self, rng: Rng, size: int) -> Regions:  # noqa: ARG002 - files have the size they have
        """One image with one of its label maps."""
        entry = self.entries[rng.integers(len(self.entries))]
        return load(entry, int(rng.integers(len(entry.labels))))


class Mixture:
    """Scenes for a fixed share of the draws; folders share the rest by the square root of their images.

    Args:
        folders: may be empty if scene_share is 1.
        scene_share: 0 to 1.
    """

    images = 0

    def __init__(self, folders: Sequence[Folder], scene_share: float) -> None:
        self.sources: tuple[Source, ...] = (Scenes(), *folders)
        weights = np.sqrt([folder.images for folder in folders])
        rest = (1 - scene_share) * weights / weights.sum() if len(folders) else np.empty(0)
        shares = np.array([scene_share if len(folders) else 1.0, *rest])
        self.shares = shares / shares.sum()

    def draw(self, rng: Rng, size: int) -> Regions:
        """From one of the sources."""
        return self.sources[rng.choice(len(self.sources), p=self.shares)].draw(rng, size)


def open_folder(folder: Path) -> tuple[Folder, Folder]:
    """The images to train on, and those held out for the probe.

    Two layouts are known: images/ with labels/ and index.csv, of which 40 images chosen by hash are held out (a tenth
    of a smaller folder); and images/ with instances/ or masks/ and splits.json, of which only the list "train" is read
    and nothing is held out.

    Raises:
        DatasetError: neither layout, or a file that is listed and missing.
    """
    if (folder / "index.csv").is_file():
        return _indexed(folder)
    if (folder / "splits.json").is_file():
        return _split(folder), Folder(())
    missing = Problem("", "neither index.csv nor splits.json was found; one of them lists the images to train on")
    raise DatasetError(folder, [missing], "Name a folder with one of these two layouts.")


def load(entry: Entry, which: int = 0) -> Regions:
    """Read an image with its `which`-th label map, numbered without gaps.

    Raises:
        DatasetError: a file cannot be read.
    """
    image_HW3 = _read(entry.image, cv2.IMREAD_COLOR_RGB)
    labels_HW = _read(entry.labels[which], cv2.IMREAD_UNCHANGED)
    if entry.labels[which].parent.name == "masks":
        labels_HW = cv2.connectedComponents((labels_HW > 0).astype(np.uint8), connectivity=8)[1]
    present = np.bincount(labels_HW.ravel()) > 0
    present[0] = False
    labels_HW = (np.cumsum(present) * present).astype(np.int32)[labels_HW]
    kinds = (np.arange(labels_HW.max() + 1) > 0).astype(np.int32) if entry.alike else None
    return Regions(image_HW3, labels_HW, kinds, ground_known=entry.alike)


def _read(path: Path, flags: int) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if pixels is None:
        raise DatasetError(path.parent, [Problem(path.name, "cannot be read as an image")])
    return pixels


def _indexed(folder: Path) -> tuple[Folder, Folder]:
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stem"]]
    entries = {}
    for row in rows:
        stem = row["stem"]
        labels = [folder / "labels" / f"{stem}.png"]
        if row.get("has_alt") == "1":
            labels.append(folder / "labels_alt" / f"{stem}.png")
        entries[stem] = Entry(image_of(folder, stem), tuple(labels), row["kind"] in EXHAUSTIVE_KINDS)
    by_hash = sorted(entries, key=lambda stem: hashlib.sha256(stem.encode()).hexdigest())
    held_out = set(by_hash[: min(HELD_OUT_IMAGES, max(1, len(by_hash) // 10))])
    train = [entry for stem, entry in entries.items() if stem not in held_out]
    return Folder(train), Folder([entries[stem] for stem in sorted(held_out)])


def _split(folder: Path) -> Folder:
    stems = json.loads((folder / "splits.json").read_text())["train"]
    part = "instances" if (folder / "instances").is_dir() else "masks"
    return Folder([Entry(image_of(folder, stem), (folder / part / f"{stem}.png",), alike=True) for stem in stems])


def image_of(folder: Path, stem: str) -> Path:
    """The file of one image in images/.

    Raises:
        DatasetError: it is not there.
    """
    for ending in ("jpg", "png"):
        if (path := folder / "images" / f"{stem}.{ending}").is_file():
            return path
    raise DatasetError(folder, [Problem(f"images/{stem}.jpg", "is listed, but neither it nor a .png is there")])
