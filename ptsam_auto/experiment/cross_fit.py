"""Cross-fitting: every image is predicted by a model that was trained without it and without its group."""

# H W size of an image, px  C classes  K folds

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.torch import save as serialise

from ptsam_auto.data.dataset import Pair
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.files import file_sha256, write_bytes, write_text
from ptsam_auto.methods.mixture import mean_probability
from ptsam_auto.methods.model import Model
from ptsam_auto.records import RecordError, read_json, to_sealed_json
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.trainer import Trainer, train_each

FOLD_FILE = "fold.json"  # It is written last, so a folder with it is complete.
LEARNED_FILE = "learned.safetensors"


@dataclass(frozen=True)
class FoldResult:
    """The result of one fold.

    Args:
        images: Scores of the held-out images of the fold.
        seconds: Duration of the training and of the predictions, divided by the number of folds that ran at the same
            time. Of folds that are trained together, the first has the duration of the training of all.
        files: SHA-256 of each file with the predictions or the learned parameters of the fold, by its path in the
            folder of the cross-fit.
    """

    images: tuple[ImageScore, ...]
    seconds: float
    files: dict[str, str]


@dataclass(frozen=True)
class CrossFit:
    """The result of cross-fitting, or of its first folds.

    Args:
        folder: Folder of the results.
        folds: Indices of the held-out images of each fold.
        scores: Scores of `images`, in their order; each by a model that was trained without it.
        seconds: Sum of the durations of the folds; see `FoldResult`.
    """

    folder: Path
    folds: tuple[tuple[int, ...], ...]
    scores: Scores
    seconds: float

    @property
    def images(self) -> tuple[int, ...]:
        """Return the indices of the images of the folds, ascending."""
        return tuple(sorted(index for fold in self.folds for index in fold))

    def score(self, image: int) -> ImageScore:
        """Return the score of an image."""
        return self.scores.images[self.images.index(image)]

    def probability(self, image: int) -> np.ndarray:
        """Return the probability of an image by the model trained without it, H W or C H W, float16, 0 to 1."""
        return np.load(_map_file(self.folder, image))

    def learned(self, fold: int) -> Path:
        """Return the file of the learned parameters of a fold."""
        return _fold_folder(self.folder, fold) / LEARNED_FILE


def mixed_probability(cross_fits: Sequence[CrossFit], weights: Sequence[float], image: int) -> np.ndarray:
    """Return the probability of an image by a mixture of models trained without it, H W or C H W, float32, 0 to 1.

    Args:
        cross_fits: Cross-fit of each model, of the same images.
        weights: Weight of each model; the sum is 1.
        image: Index of the image.
    """
    return mean_probability([each.probability(image) for each in cross_fits], weights)


@dataclass(frozen=True)
class CrossFitting:
    """The work of cross-fitting: one model for each fold, trained on the images of all other folds, predicts the fold.

    The folds are independent of each other: they can be run in any order, in several processes, and after an
    interruption only those that are missing. It can be sent to another process.

    Args:
        name: Name in the progress.
        trainer: Trainer of the method.
        pairs: All annotated images.
        folds: Indices of the images in each of K folds, K at least 2; see `data.split.cross_folds`.
        seed: Random seed, the same for all folds, so that they share the augmented views.
        folder: Folder of the results; it is created if it is missing. All processes need it.
        device: Device, such as "cpu" or "cuda:0".
        held_out: Function that returns the evaluation of some pairs.
        first: Number of folds that are run, the first ones. Default: all.
    """

    name: str
    trainer: Trainer
    pairs: tuple[Pair, ...]
    folds: tuple[tuple[int, ...], ...]
    seed: int
    folder: Path
    device: str
    held_out: Callable[[Sequence[Pair]], HeldOut]
    first: int | None = None

    @property
    def missing(self) -> list[int]:
        """Return the numbers of the folds that are to be run: they are not finished, or their files are damaged."""
        return [number for number in range(len(self._wanted)) if _result(self.folder, number) is None]

    @property
    def _wanted(self) -> tuple[tuple[int, ...], ...]:
        return self.folds[: self.first]

    def fold_folder(self, number: int) -> Path:
        """Return the folder of a fold."""
        return _fold_folder(self.folder, number)

    def run(self, numbers: Sequence[int], terminal: Terminal | None = None, at_once: int = 1) -> None:
        """Train and predict some folds in this process, together where that is faster.

        Args:
            numbers: Numbers of the folds.
            terminal: Terminal that shows the progress. Default: no output.
            at_once: Number of folds that run at the same time, in this and in other processes.

        Raises:
            PtsamError: Training failed because of a setting or the environment.
        """
        folders = [self.fold_folder(number) for number in numbers]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        sets = [
            [pair for index, pair in enumerate(self.pairs) if index not in self.folds[number]] for number in numbers
        ]
        began = time.perf_counter()
        models = train_each(self.trainer, sets, self.seed, folders, self.device, terminal)
        for number, trained in zip(numbers, models, strict=True):
            images: list[ImageScore] = []
            files: dict[str, str] = {}

            def write(path: Path, content: bytes, files: dict[str, str] = files) -> None:
                write_bytes(path, content)
                files[path.relative_to(self.folder).as_posix()] = sha256(content).hexdigest()

            held_out = self.held_out([self.pairs[index] for index in self.folds[number]])
            for index, prediction in zip(self.folds[number], held_out.predictions(trained.model), strict=True):
                write(_map_file(self.folder, index), _map(prediction.probability))
                images.append(prediction.score)
            write(self.fold_folder(number) / LEARNED_FILE, _learned(trained.model))
            ended = time.perf_counter()
            result = FoldResult(tuple(images), (ended - began) / at_once, files)
            write_text(self.fold_folder(number) / FOLD_FILE, to_sealed_json(result))
            began = ended

    def result(self) -> CrossFit:
        """Return the result; all folds that are to be run are finished."""
        results = [read_json(FoldResult, self.fold_folder(number) / FOLD_FILE) for number in range(len(self._wanted))]
        by_index = {
            index: score
            for fold, result in zip(self._wanted, results, strict=True)
            for index, score in zip(fold, result.images, strict=True)
        }
        return CrossFit(
            folder=self.folder,
            folds=self._wanted,
            scores=Scores.of([by_index[index] for index in sorted(by_index)]),
            seconds=sum(result.seconds for result in results),
        )


def seconds_spent(folder: Path) -> float:
    """Return the duration of all folds below a folder that are complete, seconds."""
    seconds = 0.0
    for path in folder.rglob(FOLD_FILE):
        with suppress(RecordError):  # A damaged one is made again.
            seconds += read_json(FoldResult, path).seconds
    return seconds


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder / f"fold-{fold}"


def _map_file(folder: Path, image: int) -> Path:
    return folder / f"probability-{image:05d}.npy"


def _result(folder: Path, fold: int) -> FoldResult | None:
    """Return the result of a fold; None if it is not finished, or if one of its files is missing or damaged."""
    try:
        result = read_json(FoldResult, _fold_folder(folder, fold) / FOLD_FILE)
        for name, expected in result.files.items():
            about = (folder / name).stat()
            if _sha256(folder / name, about.st_size, about.st_mtime_ns) != expected:
                return None
    except (OSError, RecordError):
        return None
    return result


@cache
def _sha256(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - a file that changed is read again
    return file_sha256(path)


def _map(probability: np.ndarray) -> bytes:
    """Return the file of a map."""
    content = io.BytesIO()
    np.save(content, probability.astype(np.float16))
    return content.getvalue()


def _learned(model: Model) -> bytes:
    """Return the file of the learned parameters."""
    return serialise({name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable().items()})
