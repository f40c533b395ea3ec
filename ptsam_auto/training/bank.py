"""Features of augmented views, encoded once and kept: one Arrow file an image, memory-mapped.

A frozen encoder gives the same features for the same view, so a view need never be encoded twice. The paper draws a
fresh view at every step (40,000 passes through the encoder); a bank of K views an image draws from K, in turn. With
as many views as turns it gives the paper's training exactly.
"""

# B images  K views  S input side, px  G patches a side

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.training import feature_files
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import ALONE, Team
from ptsam_auto.training.views import Batch, FreshViews, schedule, targets, view

LAYOUT = 1  # of the files; part of their names
AT_ONCE = 4  # views in one pass through the encoder


def views_for(
    model: PromptFreeSam,
    backbone_hash: str,
    pairs: Sequence[Pair],
    settings: Settings,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    at_least: int = 0,
    team: Team = ALONE,
) -> "FreshViews | FeatureBank":
    """What the settings train on: fresh views, or a bank in `folder`; see both for the arguments."""
    recipe, augmentation = settings.recipe, settings.augmentation
    if not recipe.views:
        return FreshViews(model, pairs, augmentation, recipe.batch_size, seed, team)
    return FeatureBank(folder, model, backbone_hash, pairs, augmentation, recipe, seed, progress, at_least, team)


class FeatureBank:
    """Features of K views of each training image, half precision, in a folder that runs and processes may share.

    Files are named by content (backbone, image, augmentation, seed). Encoding that was cut short continues with the
    next image, and processes that fill one bank share the images out.

    Args:
        folder: where the files lie or will lie.
        model: with a frozen encoder.
        backbone_hash: SHA-256 of the weights.
        pairs: the training images.
        augmentation: how views differ.
        recipe: for its views, steps and batch size.
        seed: of order and views.
        progress: called with (views done, views in all).
        at_least: views to encode where the recipe wants fewer, so that runs with few and with many share one file.
        team: those who share each batch; they see one folder.

    Attributes:
        views: views of an image that are drawn.
        encoded: views that were encoded here rather than found.
    """

    def __init__(
        self,
        folder: Path,
        model: PromptFreeSam,
        backbone_hash: str,
        pairs: Sequence[Pair],
        augmentation: Augmentation,
        recipe: Recipe,
        seed: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
        at_least: int = 0,
        team: Team = ALONE,
    ) -> None:
        self._team = team
        self._model, self._pairs, self._augmentation = model, pairs, augmentation
        self._batch_size, self._seed = recipe.batch_size, seed
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

        self.encoded = kept * feature_files.fill(paths, lambda i: self._encode(pairs[i], kept), made)
        self._tables = [feature_files.read(path) for path in paths]

    def draw(self, step: int) -> Batch:
        """One step's views, read from the files."""
        size, device = self._model.image_size, self._model.device
        features, masks = [], []
        for image, turn in self._team.share(schedule(step, self._batch_size, len(self._pairs), self._seed)):
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
            "augmentation": asdict(self._augmentation),
            "seed": self._seed,
            "views": views,
            "image_size": self._model.image_size,
            "tiles": self._model.tiles,
        }
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:32]

    @torch.no_grad()
    def _encode(self, pair: Pair, count: int) -> pa.RecordBatch:
        size, tiles = self._model.image_size, self._model.tiles
        views = [view(pair, self._augmentation, turn, self._seed, size, tiles) for turn in range(count)]
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
