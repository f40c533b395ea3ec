"""Estimates how long the trainings of a member take on this machine."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods import sam_methods
from ptsam_auto.training.bank import VIEWS_PER_FILE
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.scale import MAX_IMAGES, scale_of
from ptsam_auto.training.trainer import SamTrainer

MOST_RUNS = 3  # of a step, to measure its duration
LONG_ENOUGH = 2.0  # seconds of them


def shortened(recipe: Recipe, share: float) -> Recipe:
    """Return a recipe with a fraction of the steps and of the views, and with a complete learning rate schedule.

    Args:
        recipe: Complete recipe.
        share: Fraction, above 0 and at most 1.
    """
    if share >= 1:
        return recipe
    views = max(VIEWS_PER_FILE, round(recipe.views * share)) if recipe.views else 0
    epochs = max(1, round(recipe.epochs * share))
    each = max(1, round(recipe.steps * share) // epochs)  # An epoch is too long to have one more or less.
    return replace(recipe, epochs=epochs, steps_per_epoch=each, views=min(views, recipe.views))


@dataclass(frozen=True)
class Speed:
    """Durations on this machine, seconds.

    Args:
        encode: Duration of one pass of one view or tile through the image encoder, without gradients.
        step: Duration of one training step, with features that are already encoded if the encoder is frozen.
        decode: Duration of one pass of one tile through the mask decoder.
    """

    encode: float
    step: float
    decode: float


class Cost:
    """Estimates the durations of the trainings of one member.

    Args:
        trainer: Trainer of the member.
        pairs: Annotated images that are cross-fitted.
        train: Number of all annotated images.
        device: Device, such as "cpu" or "cuda:0".
        threads: Number of threads of a training, or None for that of this process.
        speeds: What was measured so far for other members. Members that differ in their tiles only are equally fast.
    """

    def __init__(
        self,
        trainer: SamTrainer,
        pairs: Sequence[Pair],
        train: int,
        device: str,
        threads: int | None = None,
        speeds: dict[tuple[object, ...], Speed] | None = None,
    ) -> None:
        method, sam = trainer.settings.method, trainer.backbone.sam.to(device)
        size = sam.image_encoder.img_size
        tiling = scale_of(method.tiles, method.scale, pairs, size).tiling
        looked_at = pairs[:MAX_IMAGES]
        shapes = [pair.load().mask.shape for pair in looked_at]
        tiles = sum(len(tiling.boxes(height, width, size)) for height, width in shapes)
        self._recipe = trainer.settings.recipe
        self._images, self._train = len(pairs), train
        self._tiles = tiles * len(pairs) / len(looked_at)
        speeds = {} if speeds is None else speeds
        self._speed = _speed(trainer, device, threads or torch.get_num_threads(), speeds)
        # The training on all images is alone, so it has all threads of this process.
        self._final_step = _speed(trainer, device, torch.get_num_threads(), speeds).step

    @property
    def per_image(self) -> float:
        """Return the duration of a prediction of a typical image, seconds."""
        return (self._speed.encode + self._speed.decode) * self._tiles / self._images

    def cross_fit(self, folds: int, share: float, views_before: int = 0, run: int | None = None) -> float:
        """Return the duration of a cross-fit, seconds.

        Args:
            folds: Number of folds.
            share: Fraction of the recipe, see `shortened`.
            views_before: Number of views of each image that are already encoded; 0 if the images are not encoded yet.
            run: Number of folds that are run. Default: all.
        """
        run = folds if run is None else run
        recipe = shortened(self._recipe, share)
        trained_on = self._images * (folds - 1) // folds
        drawn = min(self._images, run * recipe.images_drawn(trained_on))
        new_views = max(0, self.views(share, trained_on) - views_before) * drawn
        predicted = self._tiles * run / folds * (self._speed.decode + (0 if views_before else self._speed.encode))
        return new_views * self._speed.encode + run * recipe.steps * self._speed.step + predicted

    def final(self, share: float, views_before: int) -> float:
        """Return the duration of the training on all images, seconds; see `cross_fit` for the arguments."""
        views, recipe = self.views(share, self._train), shortened(self._recipe, share)
        drawn = recipe.images_drawn(self._train)
        encoded = min(self._images, drawn)
        new_views = max(0, views - views_before) * encoded + views * (drawn - encoded)
        return new_views * self._speed.encode + recipe.steps * self._final_step

    def views(self, share: float, images: int) -> int:
        """Return the number of views of each image that a training encodes."""
        views = shortened(self._recipe, share).views_drawn(max(1, images))
        return -(-views // VIEWS_PER_FILE) * VIEWS_PER_FILE


def _speed(trainer: SamTrainer, device: str, threads: int, speeds: dict[tuple[object, ...], Speed]) -> Speed:
    """Return the durations with a number of threads.

    A step is measured once for all members that differ in their tiles only, and a pass once for all with the same
    backbone, because deep prompts make it a few percent longer at most.
    """
    passes = (trainer.backbone.sha256, trainer.classes, device, threads)
    key = (*passes, repr(replace(trainer.settings.method, tiles=1)), trainer.settings.recipe.batch_size)
    if key not in speeds:
        same = next((speed for other, speed in speeds.items() if other[: len(passes)] == passes), None)
        with _threads(threads):
            speeds[key] = _measured(trainer, device, same)
    return speeds[key]


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Use a number of threads inside the `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(trainer: SamTrainer, device: str, same: Speed | None = None) -> Speed:
    """Measure each duration, after one pass to warm up.

    Args:
        trainer: Trainer of the member.
        device: Device, such as "cpu" or "cuda:0".
        same: What was measured with the same backbone; only the step is measured then. Default: nothing was.
    """
    recipe = trainer.settings.recipe
    model = sam_methods.build(trainer.backbone.sam.to(device), trainer.settings.method, 0, classes=trainer.classes)
    size = model.image_size
    images = torch.zeros(recipe.batch_size, 3, size, size, device=device)

    def encode() -> torch.Tensor:
        with torch.no_grad():
            return model.encode(images[:1])

    features = encode()
    batch = features.expand(recipe.batch_size, -1, -1, -1).contiguous()

    def decode() -> torch.Tensor:
        with torch.no_grad():
            return model.decode(features)

    def step() -> torch.Tensor:
        loss = model.decode(batch if model.encoder_is_frozen else model.encode(images)).sigmoid().mean()
        loss.backward()
        return loss.detach()

    if same is not None:
        return replace(same, step=_seconds(step, device))
    return Speed(*(_seconds(work, device) for work in (encode, step, decode)))


def _seconds(work: Callable[[], torch.Tensor], device: str) -> float:
    """Return the duration of the quickest of some runs; the first ones are slower, because memory is new to them."""
    work()
    durations: list[float] = []
    while len(durations) < MOST_RUNS and sum(durations) < LONG_ENOUGH:
        began = time.perf_counter()
        result = work()
        if device.startswith("cuda"):
            result.sum().item()  # The GPU works asynchronously.
        durations.append(time.perf_counter() - began)
    return min(durations)
