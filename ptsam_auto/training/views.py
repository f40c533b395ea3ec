"""What a training step sees: augmented views of the images, a pure function of seed and step."""

# B images  S input side, px  G patches a side  h w a view's frame inside the square, px

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ptsam_auto.data.augment import Augmentation, augmented
from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.preprocess import frame, to_input
from ptsam_auto.sam.tiles import random_tile
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import ALONE, Team


@dataclass(frozen=True)
class Batch:
    """Features of some views, and what should be found in them.

    Args:
        features_B256GG: of the image encoder; they carry a gradient where the encoder is tuned.
        target_BSS: float, 1 is foreground.
        inside_BSS: float, 1 is image, 0 the padding of images that are not square.
    """

    features_B256GG: Tensor
    target_BSS: Tensor
    inside_BSS: Tensor


class Views(Protocol):
    """Where the training loop gets its batches from."""

    def draw(self, step: int) -> Batch:
        """The batch of one step; the same at every call, so that a run can resume anywhere."""


@dataclass(frozen=True)
class Supply:
    """The training images and which views of them are drawn when: all of a batch that no network decides.

    Args:
        pairs: the training images.
        augmentation: how views differ.
        batch_size: B, of all workers together.
        seed: of order and views.
        team: those who share each batch.
    """

    pairs: Sequence[Pair]
    augmentation: Augmentation
    batch_size: int
    seed: int
    team: Team = ALONE

    @classmethod
    def of(cls, pairs: Sequence[Pair], settings: Settings, seed: int, team: Team = ALONE) -> "Supply":
        """As the settings have it."""
        return cls(pairs, settings.augmentation, settings.recipe.batch_size, seed, team)

    def turns(self, step: int) -> Sequence[tuple[int, int]]:
        """Which images this worker sees at a step, as (image, turn).

        Images come in a random order, all once before any comes again; turn counts how often this one came before.
        """
        images = len(self.pairs)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {
            turn: np.random.default_rng([self.seed, turn]).permutation(images) for turn in {p // images for p in places}
        }
        return self.team.share([(int(orders[p // images][p % images]), p // images) for p in places])

    def view(self, image: int, turn: int, image_size: int, tiles: int) -> Sample:
        """An image's view number `turn`: a tile anywhere in it, augmented, in the frame that the network sees it in.

        It depends on the image's content, not on its name or place in the folder.

        Args:
            image: its place in `pairs`.
            turn: from 0.
            image_size: S.
            tiles: along the image's longer side; 1 for the whole image.
        """
        pair = self.pairs[image]
        sample = pair.load()
        digest = hashlib.sha256(f"{pair.digest} {turn} {self.seed}".encode()).digest()
        place, change = (int.from_bytes(digest[i : i + 4], "big") for i in (0, 4))
        rows, columns = sample.mask.shape
        box = random_tile(rows, columns, tiles, image_size, np.random.default_rng(place))
        part = Sample(sample.name, sample.image[box], sample.mask[box])
        rows, columns = part.mask.shape
        height, width = frame(rows, columns, image_size)
        return augmented(part, self.augmentation, height, width, seed=change)

    def views(self, step: int, image_size: int, tiles: int) -> list[Sample]:
        """All views of a step."""
        return [self.view(image, turn, image_size, tiles) for image, turn in self.turns(step)]


def targets(masks: Sequence[np.ndarray], image_size: int) -> tuple[Tensor, Tensor]:
    """Masks of frames as `Batch.target_BSS` and `Batch.inside_BSS`."""
    target = torch.zeros(len(masks), image_size, image_size)
    inside = torch.zeros_like(target)
    for i, mask in enumerate(masks):
        height, width = mask.shape
        target[i, :height, :width] = torch.from_numpy(mask)
        inside[i, :height, :width] = 1
    return target, inside


class FreshViews:
    """A new augmented view at every step, as the paper trains; the next step's are drawn while this one computes.

    Args:
        model: encodes the views, with gradients where its encoder is tuned.
        supply: of views.
    """

    def __init__(self, model: PromptFreeSam, supply: Supply) -> None:
        self._model, self._supply = model, supply
        self._painter = ThreadPoolExecutor(1, thread_name_prefix="views")
        self._ahead: tuple[int, Future[list[Sample]]] | None = None

    def draw(self, step: int) -> Batch:
        """Augment and encode one step's views."""
        known, future = self._ahead or (None, None)
        views = future.result() if future is not None and known == step else self._paint(step)
        self._ahead = step + 1, self._painter.submit(self._paint, step + 1)

        size, device = self._model.image_size, self._model.device
        images = torch.stack([to_input(self._model.sam, one.image, size) for one in views])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._model.encoder_is_frozen):
            features = self._model.encode(images)
        target, inside = targets([one.mask for one in views], size)
        return Batch(features, target.to(device), inside.to(device))

    def _paint(self, step: int) -> list[Sample]:
        return self._supply.views(step, self._model.image_size, self._model.tiles)
