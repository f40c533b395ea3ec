"""Features of augmented views, encoded once and kept: one Arrow file an image, memory-mapped.

A frozen encoder gives the same features for the same view, so a view need never be encoded twice. The paper draws a
fresh view at every step (40,000 passes through the encoder); a bank of K views an image draws from K, in turn. With
as many views as turns it gives the paper's training exactly.
"""

# B images  K views  S input side, px  G patches a side

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.training import feature_files
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import Batch, FreshViews, Supply, targets

LAYOUT = 1  # of the files; part of their names
AT_ONCE = 4  # views in one pass through the encoder


def views_for(
    model: PromptFreeSam,
    backbone_hash: str,
    supply: Supply,
    recipe: Recipe,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    at_least: int = 0,
) -> "FreshViews | FeatureBank":
    """What the recipe trains on: fresh views, or a bank in `folder`; see both for the arguments."""
    if not recipe.views:
        return FreshViews(model, supply)
    return FeatureBank(folder, model, backbone_hash, supply, recipe, progress, at_least)


class FeatureBank:
    """Features of K views of each training image, half precision, in a folder that runs and processes may share.

    Files are named by content (backbone, image, augmentation, seed). Encoding that was cut short continues with the
    next image, and processes that fill one bank share the images out.

    Args:
        folder: where the files lie or will lie.
        model: with a frozen encoder.
        backbone_hash: SHA-256 of the weights.
        supply: of views.
        recipe: for the number of views and of steps.
        progress: called with (views done, views in all).
        at_least: views to encode where the recipe wants fewer, so that runs with few and with many share one file.

    Attributes:
        views: views of an image that are drawn.
        encoded: views that were encoded here rather than found.
    """

    def __init__(
        self,
        folder: Path,
        model: PromptFreeSam,
        backbone_hash: str,
        supply: Supply,
        recipe: Recipe,
        progress: Callable[[int, int], None] = lambda done, total: None,
        at_least: int = 0,
    ) -> None:
        self._model, self._supply = model, supply
        pairs = supply.pairs
        self.views = recipe.views_drawn(len(pairs))
        kept = max(self.views, at_least)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self._key(pair, backbone_hash, kept)}.arrow" for pair in pairs]
        total = len(pairs) * kept
        done = kept * sum(path.exists() for path in paths)
        progress(done, total)

        def made() -> None:
            nonlocal done
            progress(done := done + kept, total)

        self.encoded = kept * feature_files.fill(paths, lambda i: self._encode(i, kept), made)
        self._tables = [feature_files.read(path) for path in paths]

    def draw(self, step: int) -> Batch:
        """One step's views, read from the files."""
        size, device = self._model.image_size, self._model.device
        features, masks = [], []
        for image, turn in self._supply.turns(step):
            table, row = self._tables[image], turn % self.views
            features.append(table.column("features").to_numpy_ndarray()[row])
            height, width = table.column("height")[row].as_py(), table.column("width")[row].as_py()
            masks.append(feature_files.unpacked(table.column("mask")[row], height, width))
        target, inside = targets(masks, size)
        stacked = torch.from_numpy(np.stack(features)).float()
        return Batch(stacked.to(device), target.to(device), inside.to(device))

    def _key(self, pair: Pair, backbone_hash: str, views: int) -> str:
        contents = {
            "layout": LAYOUT,
            "backbone": backbone_hash,
            "pair": pair.digest,
            "augmentation": asdict(self._supply.augmentation),
            "seed": self._supply.seed,
            "views": views,
            "image_size": self._model.image_size,
            "tiles": self._model.tiles,
        }
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:32]

    @torch.no_grad()
    def _encode(self, image: int, count: int) -> pa.RecordBatch:
        size, tiles = self._model.image_size, self._model.tiles
        views = [self._supply.view(image, turn, size, tiles) for turn in range(count)]
        features = []
        for start in range(0, len(views), AT_ONCE):
            images = [to_input(self._model.sam, one.image, size) for one in views[start : start + AT_ONCE]]
            features.append(self._model.encode(torch.stack(images)).half().cpu().numpy())
        columns = {
            "features": pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate(features)),
            "mask": pa.array([feature_files.packed(one.mask) for one in views], pa.binary()),
            "height": pa.array([one.mask.shape[0] for one in views], pa.int32()),
            "width": pa.array([one.mask.shape[1] for one in views], pa.int32()),
        }
        return pa.record_batch(columns)
