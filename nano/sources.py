"""Sources of training images: folders of annotated images, and rendered scenes.

Only the list "train" of a folder is read: the held-out images are used later to test how well nano generalises.
"""

# H W  size of an image in px   n  number of regions of an image

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from nano.scenes.scene import KINDS_VARY, MOST_KINDS, SCENE_TYPES, render_scene
from ptsam_auto.data.random_fields import Rng
from ptsam_auto.data.subset import listed_names
from ptsam_auto.errors import DatasetError, Problem

HELD_OUT_IMAGES = 40  # number of images of a folder with index.csv that are used for measurements, never for training
EXHAUSTIVE_KINDS = frozenset(
    {"components"}
)  # kinds in index.csv whose 0 is background and whose regions are of one kind
PARTITIONS = frozenset({"regions_exhaustive"})  # in index.csv: the regions cover the whole image

OUTLINE: frozenset[int] = frozenset()  # a concept that covers no kind means the outlines of regions


@dataclass(frozen=True)
class Regions:
    """An image and its annotated regions.

    Args:
        image: Image, H W 3, uint8, RGB.
        labels: Label map, H W, int32; 0 is no region, 1 to n are regions.
        kinds: Kind of each label, n + 1, int32; kinds[0] is 0. None if kinds are not known; there is then no task for
            all objects of a kind.
        ground_known: True if label 0 is background, False if it is not annotated.
        concepts: Kinds of each concept, by its name (OUTLINE: the outlines of regions). A concept is the same in every
            image of its source, and has its own learned prompts.
    """

    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray | None
    ground_known: bool
    concepts: Mapping[str, frozenset[int]] = field(default_factory=dict)


class Source(Protocol):
    """A source of images with regions."""

    @property
    def images(self) -> int:
        """Return the number of different images; 0 if it is unlimited."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """Return all names in `Regions.concepts` of its images, always in the same order."""

    def draw(self, rng: Rng, size: int) -> Regions:
        """Return a random image; `size` is the network's input side in px."""


def scene_concepts(scene_type: str) -> dict[str, frozenset[int]]:
    """Return the concepts of a scene type."""
    kinds = range(1, MOST_KINDS + 1)
    if scene_type in KINDS_VARY:
        found = {f"{scene_type}/any": frozenset(kinds)}
    else:
        found = {f"{scene_type}/{kind}": frozenset({kind}) for kind in kinds}
    return found | {f"{scene_type}/outline": OUTLINE}


class Scenes:
    """Scenes, rendered at the network's input size."""

    images = 0
    concepts = tuple(name for scene_type in SCENE_TYPES for name in scene_concepts(scene_type))

    def draw(self, rng: Rng, size: int) -> Regions:
        """Return a new scene."""
        scene = render_scene(int(rng.integers(2**62)), size)
        return Regions(scene.image, scene.labels, scene.kinds, True, scene_concepts(scene.scene_type))


@dataclass(frozen=True)
class Entry:
    """An image on disk and its label maps, one of which is used at a time."""

    image: Path
    labels: tuple[Path, ...]
    one_kind: bool  # all regions are of one kind, and 0 is background
    origin: str = ""  # name of the data set; its objects are one concept
    partition: bool = False  # the regions cover the whole image

    @property
    def concepts(self) -> dict[str, frozenset[int]]:
        """Return the concepts of the image, see `Regions`."""
        found = {f"{self.origin}/any": frozenset({1})} if self.one_kind else {}
        return found | ({f"{self.origin}/outline": OUTLINE} if self.one_kind or self.partition else {})


class Folder:
    """Images of one folder, which are read at full size whenever they are drawn."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    @property
    def images(self) -> int:
        """Return the number of images."""
        return len(self.entries)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Return the concepts of all entries, sorted."""
        return tuple(sorted({name for entry in self.entries for name in entry.concepts}))

    def draw(self, rng: Rng, size: int) -> Regions:
        """Return a random image with one of its label maps."""
        entry = self.entries[rng.integers(len(self.entries))]
        return load(entry, int(rng.integers(len(entry.labels))))


class Mixture:
    """A mixture of scenes, with a fixed fraction, and folders, weighted by the square root of their number of images.

    Args:
        folders: Folders of images; may be empty if scene_share is 1.
        scene_share: Fraction of scenes, 0 to 1.
    """

    images = 0

    def __init__(self, folders: Sequence[Folder], scene_share: float) -> None:
        self.sources: tuple[Source, ...] = (Scenes(), *folders)
        weights = np.sqrt([folder.images for folder in folders])
        rest = (1 - scene_share) * weights / weights.sum() if len(folders) else np.empty(0)
        shares = np.array([scene_share if len(folders) else 1.0, *rest])
        self.shares = shares / shares.sum()
        self.concepts = tuple(dict.fromkeys(name for source in self.sources for name in source.concepts))

    def draw(self, rng: Rng, size: int) -> Regions:
        """Return a random image from a random source."""
        return self.sources[rng.choice(len(self.sources), p=self.shares)].draw(rng, size)


def open_folder(folder: Path) -> tuple[Folder, Folder]:
    """Return the images to train on, and the held-out images.

    There are two layouts: images/ with labels/ and index.csv, where 40 images (a tenth of a smaller folder) are
    selected by hash and held out; and images/ with instances/ or masks/ and splits.json, where only the list "train" is
    read and no image is held out.

    Raises:
        DatasetError: The folder has neither layout, or a listed file is missing.
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
    kinds = (np.arange(labels_HW.max() + 1) > 0).astype(np.int32) if entry.one_kind else None
    return Regions(image_HW3, labels_HW, kinds, entry.one_kind, entry.concepts)


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
        kind, origin = row["kind"], f"{folder.resolve().name}/{row['source'].split('/')[0]}"
        image = image_of(folder, stem)
        entries[stem] = Entry(image, tuple(labels), kind in EXHAUSTIVE_KINDS, origin, kind in PARTITIONS)
    by_hash = sorted(entries, key=lambda stem: hashlib.sha256(stem.encode()).hexdigest())
    held_out = set(by_hash[: min(HELD_OUT_IMAGES, max(1, len(by_hash) // 10))])
    train = [entry for stem, entry in entries.items() if stem not in held_out]
    return Folder(train), Folder([entries[stem] for stem in sorted(held_out)])


def _split(folder: Path) -> Folder:
    stems = listed_names(folder, "train")
    part = "instances" if (folder / "instances").is_dir() else "masks"
    origin = folder.resolve().name
    return Folder([Entry(image_of(folder, stem), (folder / part / f"{stem}.png",), True, origin) for stem in stems])


def image_of(folder: Path, stem: str) -> Path:
    """Return the file of one image in images/.

    Raises:
        DatasetError: The file does not exist.
    """
    for ending in ("jpg", "png"):
        if (path := folder / "images" / f"{stem}.{ending}").is_file():
            return path
    raise DatasetError(folder, [Problem(f"images/{stem}.jpg", "is listed, but neither it nor a .png is there")])
