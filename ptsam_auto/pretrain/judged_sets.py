"""The annotated sets that a generalist is judged on: training images for a specialist, test images for its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ptsam_auto.data.dataset import Pair, Sample, content_digest
from ptsam_auto.data.images import read_image, read_mask
from ptsam_auto.data.subset import listed_names
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.pretrain.sources import Entry, image_of


@dataclass(frozen=True)
class JudgedSet:
    """What is to be found in one folder's images.

    Args:
        name: the folder's; a second annotation in masks_weed/ makes a second set, "NAME weed".
        folder: the folder's name; sets of one folder count once in a mean over sets.
        train: in the order of the list "train".
        test: in the order of the list "test".
    """

    name: str
    folder: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    def training_images(self, count: int, seed: int) -> tuple[Pair, ...]:
        """The first `count` of the list for seed 0; of the list in another order for any other seed.

        Either way a smaller choice is part of a larger one. All of a list that is shorter.
        """
        order = np.arange(len(self.train)) if seed == 0 else np.random.default_rng(seed).permutation(len(self.train))
        return tuple(self.train[i] for i in order[:count])


def read_sets(folder: Path, most: int | None) -> list[JudgedSet]:
    """The sets of a folder with splits.json: one for each folder of masks in it.

    Args:
        folder: images/, masks/ and perhaps masks_SOMETHING/.
        most: test images, from the front of the list; None for all.

    Raises:
        DatasetError: a list, or a file that it names, is missing or broken, or nothing would be measured.
    """
    train, test = listed_names(folder, "train"), listed_names(folder, "test")[:most]
    parts = sorted(part.name for part in folder.glob("masks*") if part.is_dir())
    if not parts or not train or not test:
        what = "expected masks/, and names in the lists train and test of splits.json"
        raise DatasetError(folder, [Problem("", what)], "Name a folder that a specialist can be judged on.")
    sets = []
    for part in parts:
        suffix = part.removeprefix("masks").replace("_", " ")
        pairs = [tuple(_pair(folder, part, stem) for stem in stems) for stems in (train, test)]
        name = folder.resolve().name
        sets.append(JudgedSet(name + suffix, name, pairs[0], pairs[1]))
    return sets


def unseen_instances(folder: Path, most: int | None) -> list[Entry]:
    """The test images of a folder with instances/, for zero-shot prompts; none where there are no instances.

    Raises:
        DatasetError: the list, or an image that it names, is missing.
    """
    if not (folder / "instances").is_dir():
        return []
    stems = listed_names(folder, "test")[:most]
    return [Entry(image_of(folder, stem), (folder / "instances" / f"{stem}.png",), alike=True) for stem in stems]


def digests(pairs: Sequence[Pair]) -> list[str]:
    """What the pairs show, in their order."""
    return [pair.digest for pair in pairs]


def _pair(folder: Path, part: str, stem: str) -> Pair:
    image, mask = image_of(folder, stem), folder / part / f"{stem}.png"
    if not mask.is_file():
        raise DatasetError(folder, [Problem(f"{part}/{stem}.png", "is listed in splits.json, but not there")])
    sample = _load(image, mask, stem)
    return Pair(stem, content_digest(sample.image, sample.mask), partial(_load, image, mask, stem))


def _load(image: Path, mask: Path, stem: str) -> Sample:
    return Sample(stem, read_image(image), read_mask(mask))
