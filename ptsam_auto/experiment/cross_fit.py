"""Cross-fitting: every image is predicted by a model that was trained without it and without its group."""

# H W size of an image, px  K folds

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from ptsam_auto.data.dataset import Pair
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.files import replacing, write_text
from ptsam_auto.methods.mixture import mean_probability
from ptsam_auto.methods.model import Model
from ptsam_auto.records import from_json, to_json
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
        seconds: Duration of the training and of the predictions. Of folds that are trained together, the first has the
            duration of the training of all.
    """

    images: tuple[ImageScore, ...]
    seconds: float


@dataclass(frozen=True)
class CrossFit:
    """The result of cross-fitting.

    Args:
        folder: Folder of the results.
        folds: Indices of the held-out images of each fold.
        scores: Scores of all images, in the order of the images; each by a model that was trained without it.
        seconds: Duration of all trainings and predictions.
    """

    folder: Path
    folds: tuple[tuple[int, ...], ...]
    scores: Scores
    seconds: float

    def probability(self, image: int) -> np.ndarray:
        """Return the foreground probability of an image, H W, float16, 0 to 1, by the model trained without it."""
        return np.load(_map_file(self.folder, image))

    def learned(self, fold: int) -> Path:
        """Return the file of the learned parameters of a fold."""
        return _fold_folder(self.folder, fold) / LEARNED_FILE


def mixed_probability(cross_fits: Sequence[CrossFit], weights: Sequence[float], image: int) -> np.ndarray:
    """Return the foreground probability of an image by a mixture of models trained without it, H W, float32, 0 to 1.

    Args:
        cross_fits: Cross-fit of each model, of the same images.
        weights: Weight of each model; the sum is 1.
        image: Index of the image.
    """
    return mean_probability([each.probability(image) for each in cross_fits], weights)


def cross_fit(
    trainer: Trainer,
    pairs: Sequence[Pair],
    folds: Sequence[Sequence[int]],
    seed: int,
    folder: Path,
    device: str,
    held_out: Callable[[Sequence[Pair]], HeldOut],
    terminal: Terminal | None = None,
) -> CrossFit:
    """Train one model for each fold on the images of all other folds, and predict the images of the fold.

    After an interruption, a call with the same arguments continues.

    Args:
        trainer: Trainer of the method.
        pairs: All annotated images.
        folds: Indices of the images in each of K folds, K at least 2; see `data.split.cross_folds`.
        seed: Random seed, the same for all folds, so that they share the augmented views.
        folder: Folder of the results; it is created if it is missing.
        device: Device, such as "cpu" or "cuda:0".
        held_out: Function that returns the evaluation of some pairs.
        terminal: Terminal that shows the progress. Default: no output.

    Raises:
        PtsamError: Training failed because of a setting or the environment.
    """
    folders = [_fold_folder(folder, number) for number in range(len(folds))]
    missing = [number for number, fold_folder in enumerate(folders) if not (fold_folder / FOLD_FILE).exists()]
    for number in missing:
        folders[number].mkdir(parents=True, exist_ok=True)
    sets = [[pair for index, pair in enumerate(pairs) if index not in folds[number]] for number in missing]
    began = time.perf_counter()
    models = train_each(trainer, sets, seed, [folders[number] for number in missing], device, terminal)
    for number, trained in zip(missing, models, strict=True):
        images = []
        for index, prediction in zip(
            folds[number], held_out([pairs[index] for index in folds[number]]).predictions(trained.model), strict=True
        ):
            _save_map(_map_file(folder, index), prediction.probability)
            images.append(prediction.score)
        _save_learned(trained.model, folders[number] / LEARNED_FILE)
        ended = time.perf_counter()
        write_text(folders[number] / FOLD_FILE, to_json(FoldResult(tuple(images), ended - began)))
        began = ended
    results = [from_json(FoldResult, (fold_folder / FOLD_FILE).read_bytes()) for fold_folder in folders]
    by_index = {
        index: score
        for fold, result in zip(folds, results, strict=True)
        for index, score in zip(fold, result.images, strict=True)
    }
    return CrossFit(
        folder=folder,
        folds=tuple(tuple(fold) for fold in folds),
        scores=Scores.of([by_index[index] for index in range(len(pairs))]),
        seconds=sum(result.seconds for result in results),
    )


def seconds_spent(folder: Path) -> float:
    """Return the duration of all folds below a folder that are complete, seconds."""
    return sum(from_json(FoldResult, path.read_bytes()).seconds for path in folder.rglob(FOLD_FILE))


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder / f"fold-{fold}"


def _map_file(folder: Path, image: int) -> Path:
    return folder / f"probability-{image:05d}.npy"


def _save_map(path: Path, probability: np.ndarray) -> None:
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, probability.astype(np.float16))


def _save_learned(model: Model, path: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable().items()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished)
