"""What a configuration is judged on: each dataset, split several times into training and held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data.dataset import Dataset, Pair, fingerprint
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.show import Show


@dataclass(frozen=True)
class Cell:
    """One split of one dataset: a training of its own.

    Args:
        name: of dataset and split: "cracks/0".
        seed: of the split, the prompts' start and the views; 0, 1, ... for a dataset's splits.
        train: the training images.
        held_out: the images that are measured on.
    """

    name: str
    seed: int
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


@dataclass(frozen=True)
class SearchData:
    """A dataset that takes part.

    Args:
        name: unique in its search.
        pairs: all of the folder's; all of them count as seen.
    """

    name: str
    pairs: tuple[Pair, ...]

    @property
    def fingerprint(self) -> str:
        """See `data.dataset.fingerprint`."""
        return fingerprint(self.pairs)


def read_data(folders: Sequence[Path], allow_blank: bool, show: Show) -> list[SearchData]:
    """Read and check every folder.

    Raises:
        DatasetError: every problem of a folder; or folders that share images, so that one's training images would be
            held out in the other.
    """
    found: list[SearchData] = []
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for folder in folders:
        # Workers may stand in another folder.
        with show.bar("Reading") as update:
            dataset: Dataset = read_folder(folder.resolve(), allow_blank=allow_blank, progress=update)
        if len(dataset.pairs) < 2:
            problems.append(Problem(f"{folder}/", "1 image; expected at least 2, one of them to measure on"))
        shared = [pair for pair in dataset.pairs if pair.digest in seen]
        if shared:
            where = seen[shared[0].digest]
            problems.append(
                Problem(f"{folder}/", f"{len(shared)} images are also in {where}/, such as {shared[0].name}")
            )
        seen.update({pair.digest: str(folder) for pair in dataset.pairs})
        name = folder.resolve().name
        if name in (one.name for one in found):
            name = f"{name}-{dataset.fingerprint[:6]}"
        found.append(SearchData(name, dataset.pairs))
    if problems:
        raise DatasetError(None, problems, "Give each dataset once, then run the command again.")
    return found


def cells_of(data: Sequence[SearchData], splits: int, train_images: int) -> tuple[Cell, ...]:
    """Every split of every dataset; a split's seed is its number."""
    cells = []
    for one in data:
        for seed in range(splits):
            train, held_out = hold_out(one.pairs, seed=seed)
            cells.append(Cell(f"{one.name}/{seed}", seed, train[:train_images], held_out))
    return tuple(cells)
