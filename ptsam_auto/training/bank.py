"""Feature bank: caches the features of augmented views on disk, in one memory-mapped Arrow file per image.

A frozen encoder gives the same features for the same view, so no view has to be encoded twice. The paper encodes new
views in every step (40,000 passes through the encoder). With a bank, K views per image are encoded and used in
rotation. If K is the number of times that each image is used, this is exactly the paper's training.
"""

# B images  K views  S input side, px  G patches per side

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.files import json_sha256
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.training import feature_files
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import Batch, FreshViews, Views, ViewSampler, targets

LAYOUT = 2  # version of the file format; part of the hash in the file names
ENCODER_BATCH_SIZE = 4  # views in one pass through the encoder


def views_for(
    model: PromptFreeSam,
    backbone_hash: str,
    sampler: ViewSampler,
    recipe: Recipe,
    folder: Path,
    least_views: int = 0,
) -> Views:
    """Return FreshViews, or a FeatureBank in `folder` if recipe.views is above 0; see both for the arguments."""
    if not recipe.views:
        return FreshViews(model, sampler)
    return FeatureBank(folder, model, backbone_hash, sampler, recipe, least_views)


class FeatureBank:
    """Features of K views of each training image, half precision, in a folder that several runs can share.

    Files are named by a hash of their content (backbone, image, augmentation, seed). An interrupted encoding continues
    with the next image, and several processes that fill one bank divide the images among themselves.

    Args:
        folder: Folder of the feature files; it is created if it does not exist.
        model: Model with a frozen encoder.
        backbone_hash: SHA-256 of the weights.
        sampler: Source of the views.
        recipe: Training settings, which determine the number of views and of steps.
        least_views: Minimum number of views to encode per image, so that runs with different numbers of views share one
            file.

    Attributes:
        views: Number of views per image that training uses.
    """

    def __init__(
        self,
        folder: Path,
        model: PromptFreeSam,
        backbone_hash: str,
        sampler: ViewSampler,
        recipe: Recipe,
        least_views: int = 0,
    ) -> None:
        self._model, self._sampler = model, sampler
        self.views = recipe.views_drawn(len(sampler.pairs))
        self._kept = max(self.views, least_views)
        self._folder = folder
        self._paths = [folder / f"{self._key(pair, backbone_hash)}.arrow" for pair in sampler.pairs]
        self._tables: list[pa.RecordBatch] = []

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Encode the views of every image that has no file yet; return the number of views this process encoded.

        Args:
            progress: Function that is called with (views done, total views).
        """
        if self._tables:
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        total = len(self._paths) * self._kept
        done = self._kept * sum(path.exists() for path in self._paths)
        progress(done, total)

        def count_file() -> None:
            nonlocal done
            progress(done := done + self._kept, total)

        encoded = self._kept * feature_files.fill(self._paths, self._encode, count_file)
        self._tables = [feature_files.read(path) for path in self._paths]
        return encoded

    def draw(self, step: int) -> Batch:
        """Return the views of one step, read from the files of the bank."""
        self.prepare()
        size, device = self._model.image_size, self._model.device
        features, masks, ignored = [], [], []
        for image, turn in self._sampler.turns(step):
            table, row = self._tables[image], turn % self.views
            features.append(table.column("features").to_numpy_ndarray()[row])
            height, width = table.column("height")[row].as_py(), table.column("width")[row].as_py()
            masks.append(feature_files.unpacked(table.column("mask")[row], height, width))
            bits = table.column("ignored")[row]
            ignored.append(feature_files.unpacked(bits, height, width) if bits.is_valid else None)
        target, inside = targets(masks, size, ignored)
        stacked = torch.from_numpy(np.stack(features)).float()
        return Batch(stacked.to(device), target.to(device), inside.to(device))

    def _key(self, pair: Pair, backbone_hash: str) -> str:
        contents = {
            "layout": LAYOUT,
            "backbone": backbone_hash,
            "pair": pair.digest,
            "augmentation": asdict(self._sampler.augmentation),
            "seed": self._sampler.seed,
            "views": self._kept,
            "image_size": self._model.image_size,
            "tiling": asdict(self._model.tiling),
        }
        return json_sha256(contents)[:32]

    @torch.no_grad()
    def _encode(self, image: int) -> pa.RecordBatch:
        size, tiling = self._model.image_size, self._model.tiling
        views = [self._sampler.view(image, turn, size, tiling) for turn in range(self._kept)]
        features = []
        for start in range(0, len(views), ENCODER_BATCH_SIZE):
            batch = views[start : start + ENCODER_BATCH_SIZE]
            images = [to_input(self._model.sam, view.image, size) for view in batch]
            features.append(self._model.encode(torch.stack(images)).half().cpu().numpy())
        columns = {
            "features": pa.FixedShapeTensorArray.from_numpy_ndarray(np.concatenate(features)),
            "mask": pa.array([feature_files.packed(view.mask) for view in views], pa.binary()),
            "ignored": pa.array(
                [None if view.ignored is None else feature_files.packed(view.ignored) for view in views], pa.binary()
            ),
            "height": pa.array([view.mask.shape[0] for view in views], pa.int32()),
            "width": pa.array([view.mask.shape[1] for view in views], pa.int32()),
        }
        return pa.record_batch(columns)
