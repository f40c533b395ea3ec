"""Feature bank: caches the features of augmented views on disk, in memory-mapped Arrow files of a few views each.

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

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.files import json_sha256
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.training import feature_files
from ptsam_auto.training.ahead import Ahead, painters
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import Batch, FreshViews, Views, ViewSampler, targets

LAYOUT = 4  # version of the file format; part of the hash in the file names
VIEWS_PER_FILE = 2  # consecutive views of one image; they take one pass through the encoder


def views_for(
    model: PromptFreeSam,
    backbone_hash: str,
    sampler: ViewSampler,
    recipe: Recipe,
    folder: Path,
) -> Views:
    """Return FreshViews, or a FeatureBank in `folder` if recipe.views is above 0; see both for the arguments."""
    if not recipe.views:
        return FreshViews(model, sampler)
    return FeatureBank(folder, model, backbone_hash, sampler, recipe)


class FeatureBank:
    """Features of K views of each training image, half precision, in a folder that several runs can share.

    Files are named by a hash of their content (backbone, image, numbers of the views, augmentation, seed), so runs with
    different numbers of views share the views that they have in common. An interrupted encoding continues with the next
    file, and several processes that fill one bank divide the files among themselves.

    Args:
        folder: Folder of the feature files; it is created if it does not exist.
        model: Model with a frozen encoder.
        backbone_hash: SHA-256 of the weights.
        sampler: Source of the views.
        recipe: Training settings, which determine the number of views and of steps.

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
    ) -> None:
        self._model, self._sampler = model, sampler
        self.views = recipe.views_drawn(len(sampler.pairs))
        self._folder = folder
        self._files = self._drawn(recipe.steps)
        self._places = {file: place for place, file in enumerate(self._files)}
        self._paths = [
            folder / f"{self._key(sampler.pairs[image], first, backbone_hash)}.arrow" for image, first in self._files
        ]
        self._tables: list[pa.RecordBatch] = []
        self._missing: list[int] = []
        self._painted = Ahead(self._paint, painters(model.device, on_cpu=0), "views")

    @property
    def encoded_views(self) -> int:
        """Return the number of views of all images that `prepare` encodes if it finds none."""
        return len(self._paths) * VIEWS_PER_FILE

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Encode the views that have no file yet; return the number of views this process encoded.

        Args:
            progress: Function that is called with (views done, total views).
        """
        if self._tables:
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._missing = feature_files.absent(self._paths)
        total = self.encoded_views
        done = total - VIEWS_PER_FILE * len(self._missing)
        progress(done, total)

        def count_file() -> None:
            nonlocal done
            progress(done := done + VIEWS_PER_FILE, total)

        encoded = VIEWS_PER_FILE * feature_files.fill(self._paths, self._encode, count_file)
        self._tables = [feature_files.read(path) for path in self._paths]
        return encoded

    def draw(self, step: int) -> Batch:
        """Return the views of one step, read from the files of the bank."""
        self.prepare()
        size, device = self._model.image_size, self._model.device
        features, masks, ignored = [], [], []
        for image, turn in self._sampler.turns(step):
            view = turn % self.views
            row = view % VIEWS_PER_FILE
            table = self._tables[self._places[image, view - row]]
            features.append(table.column("features").to_numpy_ndarray()[row])
            height, width = table.column("height")[row].as_py(), table.column("width")[row].as_py()
            masks.append(feature_files.unpacked(table.column("mask")[row], height, width))
            bits = table.column("ignored")[row]
            ignored.append(feature_files.unpacked(bits, height, width) if bits.is_valid else None)
        target, inside = targets(masks, size, device, ignored, self._model.classes)
        return Batch(torch.from_numpy(np.stack(features)).to(device).float(), target, inside)

    def _drawn(self, steps: int) -> list[tuple[int, int]]:
        """Return the image and the number of the first view of each file that some step draws.

        A training with fewer steps than images needs the files of only some images.
        """
        images = len(self._sampler.pairs)
        firsts = range(0, self.views, VIEWS_PER_FILE)
        if steps * self._sampler.batch_size >= self.views * images:
            return [(image, first) for image in range(images) for first in firsts]
        views = {(image, turn % self.views) for step in range(steps) for image, turn in self._sampler.turns(step)}
        return sorted({(image, view - view % VIEWS_PER_FILE) for image, view in views})

    def _key(self, pair: Pair, first: int, backbone_hash: str) -> str:
        contents = {
            "layout": LAYOUT,
            "backbone": backbone_hash,
            "pair": pair.digest,
            "augmentation": asdict(self._sampler.augmentation),
            "seed": self._sampler.seed,
            "first view": first,
            "views": VIEWS_PER_FILE,
            "image_size": self._model.image_size,
            "tiling": asdict(self._model.tiling),
        }
        return json_sha256(contents)[:32]

    def _paint(self, file: int) -> list[Sample]:
        (image, first), size, tiling = self._files[file], self._model.image_size, self._model.tiling
        return [self._sampler.view(image, turn, size, tiling) for turn in range(first, first + VIEWS_PER_FILE)]

    @torch.no_grad()
    def _encode(self, file: int) -> pa.RecordBatch:
        size = self._model.image_size
        views = self._painted.get(file, (other for other in self._missing if other > file))
        images = torch.stack([to_input(self._model.sam, view.image, size) for view in views])
        features = self._model.encode(images).half().cpu().numpy()
        columns = {
            "features": pa.FixedShapeTensorArray.from_numpy_ndarray(features),
            "mask": pa.array([feature_files.packed(view.mask) for view in views], pa.binary()),
            "ignored": pa.array(
                [None if view.ignored is None else feature_files.packed(view.ignored) for view in views], pa.binary()
            ),
            "height": pa.array([view.mask.shape[0] for view in views], pa.int32()),
            "width": pa.array([view.mask.shape[1] for view in views], pa.int32()),
        }
        return pa.record_batch(columns)
