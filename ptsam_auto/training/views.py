"""Selects and makes the augmented views of each training step; the result depends only on seed and step."""

# B images  C classes  S input side, px  G patches per side  h w size of a view inside the square input, px

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ptsam_auto.data.augment import Augmentation, augmented, part_of
from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.sam.tiles import Tiling
from ptsam_auto.training.ahead import Ahead, painters
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup


@dataclass(frozen=True)
class Batch:
    """Features of some views and the target masks.

    Args:
        features_B256GG: Features of the image encoder; they require a gradient if the encoder is tuned.
        target_BSS: Target masks, float; 1 is foreground. With several classes B C S S.
        inside_BSS: Float; 1 is image, 0 is the padding of images that are not square, or an ignored pixel.
    """

    features_B256GG: Tensor
    target_BSS: Tensor
    inside_BSS: Tensor


class Views(Protocol):
    """Source of the batches of the training loop."""

    @property
    def encoded_views(self) -> int:
        """Return the number of views of all images that `prepare` encodes if it finds none."""

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Prepare the first batch; return the number of views this process encoded.

        Args:
            progress: Function that is called with (views done, total views).
        """

    def draw(self, step: int) -> Batch:
        """Return the batch of a step. The same step always gives the same batch, so that a run can be resumed."""


@dataclass(frozen=True)
class ViewSampler:
    """The training images, and the rule which view of which image is used in which step.

    Args:
        pairs: Training images.
        augmentation: Augmentation of the views.
        batch_size: B, number of images per batch of all workers together.
        seed: Random seed for the order of the images and the views.
        group: Workers that share each batch.
    """

    pairs: Sequence[Pair]
    augmentation: Augmentation
    batch_size: int
    seed: int
    group: WorkerGroup = SINGLE_WORKER

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], settings: Settings, seed: int, group: WorkerGroup = SINGLE_WORKER
    ) -> "ViewSampler":
        """Create a sampler from the settings."""
        return cls(pairs, settings.augmentation, settings.recipe.batch_size, seed, group)

    def turns(self, step: int) -> Sequence[tuple[int, int]]:
        """Return the images of this worker at a step, as (image, turn).

        The images are used in random order, and each is used once before any is used again. `turn` is the number of
        earlier uses of the image.
        """
        images = len(self.pairs)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {
            turn: np.random.default_rng([self.seed, turn]).permutation(images) for turn in {p // images for p in places}
        }
        return self.group.share([(int(orders[p // images][p % images]), p // images) for p in places])

    def view(self, image: int, turn: int, image_size: int, tiling: Tiling) -> Sample:
        """Return view number `turn` of an image: a random tile, scaled for the network and augmented.

        It depends on the content of the image, not on its name or its position in the folder.

        Args:
            image: Index of the image in `pairs`.
            turn: Number of earlier uses of the image, from 0.
            image_size: S, the network's input side, px.
            tiling: Rule by which images are cut into tiles.
        """
        pair = self.pairs[image]
        sample = pair.load()
        digest = hashlib.sha256(f"{pair.digest} {turn} {self.seed}".encode()).digest()
        tile_seed, augmentation_seed = (int.from_bytes(digest[i : i + 4], "big") for i in (0, 4))
        rows, columns = sample.mask.shape
        box = tiling.random_box(rows, columns, image_size, np.random.default_rng(tile_seed))
        part = part_of(sample, box)
        rows, columns = part.mask.shape
        height, width = tiling.frame(rows, columns, image_size)
        return augmented(part, self.augmentation, height, width, seed=augmentation_seed)

    def views(self, step: int, image_size: int, tiling: Tiling) -> list[Sample]:
        """Return all views of a step."""
        return [self.view(image, turn, image_size, tiling) for image, turn in self.turns(step)]


def targets(
    masks: Sequence[np.ndarray],
    image_size: int,
    device: torch.device,
    ignored: Sequence[np.ndarray | None] = (),
    classes: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return `Batch.target_BSS` and `Batch.inside_BSS` for the masks of some views.

    Args:
        masks: Masks of the views, h w, bool or class numbers.
        image_size: S, the network's input side, px.
        device: Device of the result.
        ignored: Pixels of each mask that count as padding, h w, bool; None if there are none.
        classes: C, number of classes.
    """
    numbers = torch.zeros(len(masks), image_size, image_size, dtype=torch.uint8)
    inside = torch.zeros_like(numbers, dtype=torch.bool)
    for i, mask in enumerate(masks):
        height, width = mask.shape
        numbers[i, :height, :width] = torch.from_numpy(mask.astype(np.uint8))
        excluded = ignored[i] if ignored else None
        inside[i, :height, :width] = True if excluded is None else torch.from_numpy(~excluded)
    numbers = numbers.to(device)
    target = torch.stack([numbers == number for number in range(1, classes + 1)], dim=1)
    return (target if classes > 1 else target[:, 0]).float(), inside.to(device).float()


class FreshViews:
    """New augmented views in every step, as in the paper; background threads prepare the views of the next steps.

    Args:
        model: Model that encodes the views, with gradients if its encoder is tuned.
        sampler: Source of the views.
    """

    def __init__(self, model: PromptFreeSam, sampler: ViewSampler) -> None:
        self._model, self._sampler = model, sampler
        self._painted = Ahead(self._paint, painters(model.device, on_cpu=1), "views")

    @property
    def encoded_views(self) -> int:
        """Return 0, because views are encoded in their step."""
        return 0

    def prepare(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Return 0: there is nothing to prepare, because views are encoded in their step."""
        return 0

    def draw(self, step: int) -> Batch:
        """Augment and encode the views of one step."""
        views = self._painted.get(step, itertools.count(step + 1))
        size, device = self._model.image_size, self._model.device
        images = torch.stack([to_input(self._model.sam, view.image, size) for view in views])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._model.encoder_is_frozen):
            features = self._model.encode(images)
        ignored, classes = [view.ignored for view in views], self._model.classes
        target, inside = targets([view.mask for view in views], size, device, ignored, classes)
        return Batch(features, target, inside)

    def _paint(self, step: int) -> list[Sample]:
        return self._sampler.views(step, self._model.image_size, self._model.tiling)
