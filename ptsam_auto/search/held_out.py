"""Held-out images, encoded once for all trials: measuring a rung costs decoding only."""

# H W an image's own size, px  G patches a side

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.metrics.dice import Counts
from ptsam_auto.specialist.predict import blend, tile_features
from ptsam_auto.training import feature_files

LAYOUT = 1  # of the files; part of their names


class HeldOut:
    """Features of every tile of each held-out image, half precision, in a folder that trials share.

    Args:
        folder: where the files lie or will lie.
        model: with a frozen encoder.
        backbone_hash: SHA-256 of the weights.
        pairs: at least one.

    Attributes:
        encoded: tiles that were encoded here rather than found.
    """

    def __init__(self, folder: Path, model: PromptFreeSam, backbone_hash: str, pairs: Sequence[Pair]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self.encoded = 0
        paths = [folder / f"{self._key(pair, backbone_hash)}.arrow" for pair in pairs]
        feature_files.fill(paths, lambda i: self._encode(pairs[i]))
        self._tables = [feature_files.read(path) for path in paths]

    def dice(self, model: PromptFreeSam) -> list[float]:
        """Each image's Dice, 0 to 1, of a model with the same encoder and tiles."""
        scores = []
        for table in self._tables:
            height, width = table.column("height")[0].as_py(), table.column("width")[0].as_py()
            kept = table.column("features").to_numpy_ndarray()
            tiles = (torch.from_numpy(tile[None].astype(np.float32)).to(model.device) for tile in kept)
            mask = blend(model, tiles, height, width) > 0.5
            truth = feature_files.unpacked(table.column("mask")[0], height, width)
            scores.append(Counts.of(mask, truth).dice)
        return scores

    def _key(self, pair: Pair, backbone_hash: str) -> str:
        contents = {
            "held out": LAYOUT,
            "backbone": backbone_hash,
            "pair": pair.digest,
            "image_size": self._model.image_size,
            "tiles": self._model.tiles,
        }
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:32]

    def _encode(self, pair: Pair) -> pa.RecordBatch:
        sample = pair.load()
        tiles = [features.half().cpu().numpy() for features in tile_features(self._model, sample.image)]
        self.encoded += len(tiles)
        height, width = sample.mask.shape
        columns = {
            "features": pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(tiles)),
            # The mask is the image's, not a tile's; the first row has it.
            "mask": pa.array([feature_files.packed(sample.mask)] + [b""] * (len(tiles) - 1), pa.binary()),
            "height": pa.array([height] * len(tiles), pa.int32()),
            "width": pa.array([width] * len(tiles), pa.int32()),
        }
        return pa.record_batch(columns)
