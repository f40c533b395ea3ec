"""Train/test splits of datasets, for `search` and `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data.dataset import Dataset, Pair, fingerprint
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.leaks import shared
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import hold_out, runs_of_neighbours
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.metrics.classes import number_of
from ptsam_auto.terminal import Terminal


@dataclass(frozen=True)
class Fold:
    """One random split of one dataset into training images and held-out images. Each fold is one training.

    Args:
        name: Names of the dataset and the split: "cracks/0".
        seed: Random seed of the split, the initial prompts and the views; 0, 1, ... for the splits of a dataset.
        train: Training images.
        held_out: Held-out images, on which the training is evaluated.
        classes: Number of classes of the masks.
    """

    name: str
    seed: int
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    classes: int = 1


@dataclass(frozen=True)
class NamedDataset:
    """A dataset of a search or comparison.

    Args:
        name: Name that is unique in the experiment.
        pairs: All annotated images of the folder.
        classes: Names of several classes; () for a single class.
    """

    name: str
    pairs: tuple[Pair, ...]
    classes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint; see `data.dataset.fingerprint`."""
        return fingerprint(self.pairs)


@dataclass(frozen=True)
class DatasetRecord:
    """A dataset as it is saved in search.json or comparison.json.

    Args:
        name: Name that is unique in the experiment.
        fingerprint: Fingerprint of the dataset; see `data.dataset.fingerprint`.
        images: Digests of the pairs of image and mask.
    """

    name: str
    fingerprint: str
    images: tuple[str, ...]

    @classmethod
    def of(cls, dataset: NamedDataset) -> "DatasetRecord":
        """Create the record of a dataset."""
        return cls(dataset.name, dataset.fingerprint, tuple(sorted(pair.digest for pair in dataset.pairs)))


def read_datasets(folders: Sequence[Path], options: ReadingOptions, terminal: Terminal) -> list[NamedDataset]:
    """Read and check every folder.

    Raises:
        DatasetError: A folder has problems, all of which are listed; or two folders share images, so that training
            images of one could be held-out images of the other.
    """
    datasets: list[NamedDataset] = []
    problems: list[Problem] = []
    for folder in folders:
        # Absolute paths, because workers may have another working directory.
        with terminal.bar("Reading") as update:
            dataset: Dataset = read_folder(folder.resolve(), options, progress=update)
        if len(dataset.pairs) < 2:
            what = "1 image; expected at least 2, because one is held out as a test image"
            problems.append(Problem(f"{folder}/", what))
        for other, earlier in zip(folders, datasets, strict=False):
            both = shared(dataset.pairs, earlier.pairs)
            if both:
                what = f"{len(both)} images are also in {other}/, such as {both[0][0].name}"
                problems.append(Problem(f"{folder}/", what))
        name = folder.resolve().name
        if name in (earlier.name for earlier in datasets):
            name = f"{name}-{dataset.fingerprint[:6]}"
        classes = dataset.classes if len(dataset.classes) > 1 else ()
        if classes:
            terminal.say(f"{name}: the score of an image is the mean Dice over its classes ({', '.join(classes)}).")
        datasets.append(NamedDataset(name, dataset.pairs, classes))
        if not any(pair.part for pair in dataset.pairs) and runs_of_neighbours(dataset.pairs, 2):
            terminal.say(f"{name}: the images are one sequence, so each split holds out a run of neighbours.")
    if problems:
        raise DatasetError(None, problems, "Correct the list of datasets, then run the command again.")
    return datasets


def folds_of(datasets: Sequence[NamedDataset], splits: int, train_images: int) -> tuple[Fold, ...]:
    """Return every split of every dataset. The random seed of a split is its number."""
    folds = []
    for dataset in datasets:
        for seed in range(splits):
            train, held_out = hold_out(dataset.pairs, seed=seed)
            name, classes = f"{dataset.name}/{seed}", number_of(dataset.classes)
            folds.append(Fold(name, seed, train[:train_images], held_out, classes))
    return tuple(folds)
