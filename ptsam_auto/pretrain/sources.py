"""Where pretraining images come from: folders of annotated images, and scenes that we render.

Only lists named "train" are ever opened: what a folder holds out is how we know later whether nano generalises.
"""

# H W  an image's own size in px   n  regions of an image

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ptsam_auto.data.render import FAMILIES, KINDS_VARY, MOST_KINDS, render_scene
from ptsam_auto.errors import DatasetError, Problem

Rng = np.random.Generator

HELD_OUT_IMAGES = 40  # of a folder with index.csv; they serve the probe and are never trained on
EXHAUSTIVE_KINDS = frozenset({"components"})  # kinds in index.csv whose 0 is truly ground and whose regions are alike
PARTITIONS = frozenset({"regions_exhaustive"})  # kinds in index.csv whose regions touch everywhere

OUTLINE: frozenset[int] = frozenset()  # a concept that covers no kind is where regions meet


@dataclass(frozen=True)
class Regions:
    """An image and the regions that people (or our renderer) see in it.

    Args:
        image: H W 3, uint8, RGB.
        labels: H W, int32; 0 is no region, 1 to n are regions.
        kinds: n + 1, int32; kinds[label] says what a region is an example of, kinds[0] is 0. None: not known, so
            nothing can be asked about "all of these".
        ground_known: 0 means that nothing is there, rather than that nobody looked.
        concepts: what means the same in every image from the same place: its name, and the kinds it covers (OUTLINE:
            where regions meet). Each has a prompt of its own, which nano learns while it is trained.
    """

    image: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray | None
    ground_known: bool
    concepts: Mapping[str, frozenset[int]] = field(default_factory=dict)


class Source(Protocol):
    """Anything that yields images with regions."""

    @property
    def images(self) -> int:
        """How many different images there are; 0 if there is no end to them."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every name in its images' `Regions.concepts`, in an order that stays."""

    def draw(self, rng: Rng, size: int) -> Regions:
        """One of them, chosen by `rng`; `size` is the network's input in px."""


def scene_concepts(family: str) -> dict[str, frozenset[int]]:
    """What a learned prompt can call out in a family's scenes."""
    kinds = range(1, MOST_KINDS + 1)
    if family in KINDS_VARY:
        found = {f"{family}/any": frozenset(kinds)}
    else:
        found = {f"{family}/{kind}": frozenset({kind}) for kind in kinds}
    return found | {f"{family}/outline": OUTLINE}


class Scenes:
    """Scenes rendered at the network's own size."""

    images = 0
    concepts = tuple(name for family in FAMILIES for name in scene_concepts(family))

    def draw(self, rng: Rng, size: int) -> Regions:
        """A fresh scene."""
        scene = render_scene(int(rng.integers(2**62)), size)
        return Regions(scene.image, scene.labels, scene.kinds, True, scene_concepts(scene.family))


@dataclass(frozen=True)
class Entry:
    """One image on disk and the label maps of it (any one is drawn at a time)."""

    image: Path
    labels: tuple[Path, ...]
    alike: bool  # all regions are of one kind, and 0 is ground
    origin: str = ""  # the data set; what is alike in it is one concept
    partition: bool = False  # regions touch everywhere

    @property
    def concepts(self) -> dict[str, frozenset[int]]:
        """As in `Regions`."""
        found = {f"{self.origin}/any": frozenset({1})} if self.alike else {}
        return found | ({f"{self.origin}/outline": OUTLINE} if self.alike or self.partition else {})


class Folder:
    """The images of one folder that may be trained on, read at full size whenever they are drawn."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    @property
    def images(self) -> int:
        """How many images may be drawn."""
        return len(self.entries)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Of all entries."""
        return tuple(sorted({name for entry in self.entries for name in entry.concepts}))

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
        self.concepts = tuple(dict.fromkeys(name for source in self.sources for name in source.concepts))

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
    return Regions(image_HW3, labels_HW, kinds, entry.alike, entry.concepts)


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
    stems = json.loads((folder / "splits.json").read_text())["train"]
    part = "instances" if (folder / "instances").is_dir() else "masks"
    origin = folder.resolve().name
    return Folder([Entry(image_of(folder, stem), (folder / part / f"{stem}.png",), True, origin) for stem in stems])


def image_of(folder: Path, stem: str) -> Path:
    """The file of one image in images/.

    Raises:
        DatasetError: it is not there.
    """
    for ending in ("jpg", "png"):
        if (path := folder / "images" / f"{stem}.{ending}").is_file():
            return path
    raise DatasetError(folder, [Problem(f"images/{stem}.jpg", "is listed, but neither it nor a .png is there")])
