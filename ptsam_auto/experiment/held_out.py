"""Caches the features of the held-out images, so that an evaluation runs only the decoder if the encoder is frozen."""

# H W size of an image, px  G patches per side

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pyarrow as pa
import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.files import json_sha256
from ptsam_auto.methods.appearance import Appearance
from ptsam_auto.methods.model import Model
from ptsam_auto.methods.prompt_free import PromptFreeSam, blend
from ptsam_auto.metrics.classes import decided
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.training import feature_files

FILE_FORMAT = 3  # Format version of the files; it is part of the hash in their names.


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model on an annotated image.

    Args:
        name: Name of the image.
        probability: Foreground probability, H W, or the probability of each class, C H W; float32, 0 to 1.
        truth: Annotated mask, H W, bool or class numbers.
        ignored: Ignored pixels, H W, bool.
    """

    name: str
    probability: np.ndarray
    truth: np.ndarray
    ignored: np.ndarray

    @property
    def score(self) -> ImageScore:
        """Return the scores of the mask; see `metrics.classes.decided`."""
        classes = 1 if self.probability.ndim == 2 else len(self.probability)
        return ImageScore.of(self.name, decided(self.probability), self.truth, self.ignored, classes)


class HeldOut:
    """Evaluates models on held-out images.

    A frozen encoder gives the same features for the same image, so they are saved: one Arrow file per image, in half
    precision, in a folder that trainings share. For a model without a frozen encoder nothing is saved.

    Args:
        folder: Folder of the files.
        backbone_hash: SHA-256 of the weights of the backbone.
        pairs: One or more held-out images with their masks.
    """

    def __init__(self, folder: Path, backbone_hash: str, pairs: Sequence[Pair]) -> None:
        self._folder, self._backbone_hash, self._pairs = folder, backbone_hash, pairs

    def encode(self, model: Model) -> int:
        """Encode the images without a file, if the encoder is frozen. Return the number of tiles encoded here."""
        if not _has_frozen_encoder(model):
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        encoded = 0

        def make(i: int) -> pa.RecordBatch:
            nonlocal encoded
            batch = _encoded(model, self._pairs[i])
            encoded += batch.num_rows
            return batch

        feature_files.fill(self._paths(model), make)
        return encoded

    def is_encoded(self, model: Model) -> bool:
        """Return whether the features of all images are saved, for this encoder and this scale."""
        return _has_frozen_encoder(model) and all(path.exists() for path in self._paths(model))

    def scores(self, model: Model) -> Scores:
        """Return the scores of a model on the held-out images."""
        return Scores.of([prediction.score for prediction in self.predictions(model)])

    def predictions(self, model: Model) -> Iterator[Prediction]:
        """Predict the held-out images, in their order."""
        if not _has_frozen_encoder(model):
            for pair in self._pairs:
                sample = pair.load()
                yield Prediction(pair.name, model.probability(sample.image), sample.mask, sample.ignored_pixels)
            return
        self.encode(model)
        for pair, table in zip(self._pairs, map(feature_files.read, self._paths(model)), strict=True):
            tile_features, height, width = _decoded(table, model)
            probability = blend([model], tile_features, height, width)[0]
            truth, ignored = (
                feature_files.unpacked(table.column(name)[0], height, width) for name in ("mask", "ignored")
            )
            yield Prediction(pair.name, probability, truth, ignored)

    def descriptors(self, model: PromptFreeSam) -> np.ndarray:
        """Return the descriptor of each image, N 512, float16; see `methods.appearance`."""
        rows = []
        if model.encoder_is_frozen:
            self.encode(model)
            for table in map(feature_files.read, self._paths(model)):
                rows.append(_descriptor(model, *_decoded(table, model)))
        else:
            for image in (pair.load().image for pair in self._pairs):
                rows.append(_descriptor(model, model.tile_features(image), *image.shape[:2]))
        return np.stack(rows)

    def _paths(self, model: PromptFreeSam) -> list[Path]:
        return [self._folder / f"{self._key(model, pair)}.arrow" for pair in self._pairs]

    def _key(self, model: PromptFreeSam, pair: Pair) -> str:
        contents = {
            "held out": FILE_FORMAT,
            "backbone": self._backbone_hash,
            "pair": pair.digest,
            "image_size": model.image_size,
            "tiling": asdict(model.tiling),
        }
        return json_sha256(contents)[:32]


def _has_frozen_encoder(model: Model) -> TypeGuard[PromptFreeSam]:
    return isinstance(model, PromptFreeSam) and model.encoder_is_frozen


def _decoded(table: pa.RecordBatch, model: PromptFreeSam) -> tuple[Iterator[torch.Tensor], int, int]:
    """Return the features of the tiles of a file, each 256 G G, and height and width of the image, px."""
    tiles = table.column("features").to_numpy_ndarray()
    features = (torch.from_numpy(tile.astype(np.float32)).to(model.device) for tile in tiles)
    return features, table.column("height")[0].as_py(), table.column("width")[0].as_py()


def _descriptor(model: PromptFreeSam, tile_features: Iterator[torch.Tensor], height: int, width: int) -> np.ndarray:
    appearance = Appearance()
    for _ in appearance.watched(model, tile_features, height, width):
        pass
    return appearance.descriptor()


def _encoded(model: PromptFreeSam, pair: Pair) -> pa.RecordBatch:
    sample = pair.load()
    tiles = [features.half().cpu().numpy() for features in model.tile_features(sample.image)]
    height, width = sample.mask.shape
    rest = [b""] * (len(tiles) - 1)
    columns = {
        "features": pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(tiles)),
        # The masks belong to the image, not to a tile, so only the first row has them.
        "mask": pa.array([feature_files.packed(sample.mask), *rest], pa.binary()),
        "ignored": pa.array([feature_files.packed(sample.ignored_pixels), *rest], pa.binary()),
        "height": pa.array([height] * len(tiles), pa.int32()),
        "width": pa.array([width] * len(tiles), pa.int32()),
    }
    return pa.record_batch(columns)
