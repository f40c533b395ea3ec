"""Batches as tensors. Each depends only on seed and step, so a run can be resumed from the number of its step."""

# B images  S input side, px  T tasks of one type  k points of a task  M = S / 2, side at which masks are compared

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nano.filters import FILTERS
from nano.sources import Regions, Source
from nano.tasks import PromptType, Task, draw_tasks
from nano.views import view

NOT_A_POINT = -1  # SAM's own padding point
NO_CONCEPT = -1
MAX_TRIES = 20  # maximum number of views that are drawn until one has a region large enough for a task


@dataclass(frozen=True)
class Prompts:
    """All tasks of one type in a batch.

    Args:
        image: Index of the task's image in the batch, T, int64.
        points: Points, T k 2, float32, px of the network's input; padded by (0, 0).
        roles: Roles of the points as in `Task`, T k, int64, -1 for padding. Clicks end with one padding point, as in
            SAM's predictor.
        concepts: Number of the concept, T, int64; -1 for tasks with points.
        targets: Target masks, T M M, bool.
    """

    image: Tensor
    points: Tensor
    roles: Tensor
    concepts: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Batch:
    """Images and prompts of one step.

    Args:
        images: Images, B 3 S S, uint8, padded by zeros at the bottom and right.
        inside: B M M, bool, True for image pixels, False for padding.
        prompts: Prompts by their type; types without any task are absent.
    """

    images: Tensor
    inside: Tensor
    prompts: dict[PromptType, Prompts]


@dataclass(frozen=True)
class PromptedImage:
    """An image with its tasks."""

    regions: Regions
    tasks: list[Task]


def draw_prompted_image(source: Source, seed: int, step: int, index: int, size: int) -> PromptedImage:
    """Return image number `index` of a step, with its tasks."""
    rng = np.random.default_rng([seed, step, index])
    for _ in range(MAX_TRIES):
        regions = view(rng, source.draw(rng, size), size)
        if tasks := draw_tasks(rng, regions):
            return PromptedImage(regions, tasks)
    raise RuntimeError(f"{MAX_TRIES} images in a row have no region that is large enough for a task.")


def collate(items: Sequence[PromptedImage], size: int, concepts: Sequence[str] = ()) -> Batch:
    """Pad images and tasks to one size; the number of a concept is its index in `concepts`."""
    numbers = {name: number for number, name in enumerate(concepts)}
    half = size // 2
    images_BSS3 = np.zeros((len(items), size, size, 3), np.uint8)
    inside_BMM = np.zeros((len(items), half, half), bool)
    by_type: dict[PromptType, list[tuple[int, Task]]] = {}
    for number, item in enumerate(items):
        height, width = item.regions.labels.shape
        images_BSS3[number, :height, :width] = item.regions.image
        inside_BMM[number, : -(-height // 2), : -(-width // 2)] = True
        for task in item.tasks:
            by_type.setdefault(task.prompt_type, []).append((number, task))
    images = torch.from_numpy(images_BSS3).permute(0, 3, 1, 2).contiguous()
    prompts = {prompt_type: _prompts(by_type[prompt_type], half, numbers) for prompt_type in sorted(by_type)}
    return Batch(images, torch.from_numpy(inside_BMM), prompts)


def _prompts(tasks: list[tuple[int, Task]], half: int, numbers: Mapping[str, int]) -> Prompts:
    longest = max(len(task.points) + (task.prompt_type != "box") for _, task in tasks)
    points = np.zeros((len(tasks), longest, 2), np.float32)
    roles = np.full((len(tasks), longest), NOT_A_POINT, np.int64)
    targets = np.zeros((len(tasks), half, half), bool)
    for row, (_, task) in enumerate(tasks):
        points[row, : len(task.points)] = task.points
        roles[row, : len(task.roles)] = task.roles
        targets[row] = half_size(task.target, half)
    image = torch.tensor([number for number, _ in tasks])
    concepts = torch.tensor([numbers[task.concept] if task.concept else NO_CONCEPT for _, task in tasks])
    return Prompts(image, torch.from_numpy(points), torch.from_numpy(roles), concepts, torch.from_numpy(targets))


def half_size(mask: np.ndarray, half: int) -> np.ndarray:
    """Return an h w mask at half its size, in an M M square.

    A pixel is foreground if at least two of its four original pixels are, so that thin structures are kept.
    """
    height, width = mask.shape
    padded = np.zeros((2 * half, 2 * half), np.float32)
    padded[:height, :width] = mask
    return cv2.resize(padded, (half, half), interpolation=cv2.INTER_AREA) >= 0.5


def vocabulary(source: Source) -> tuple[str, ...]:
    """Return all concepts that tasks can have: one per filter, and those of the source."""
    return (*FILTERS, *source.concepts)


class StepBatches(Dataset):
    """A data set whose item number `step` is the batch of that step."""

    def __init__(self, source: Source, seed: int, batch: int, size: int) -> None:
        self.source, self.seed, self.batch, self.size = source, seed, batch, size

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)
        items = [draw_prompted_image(self.source, self.seed, step, index, self.size) for index in range(self.batch)]
        return collate(items, self.size, vocabulary(self.source))


def batches(steps: StepBatches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Return the batches of steps `start` to `stop`, prepared in `workers` processes (0: in this process, on demand).

    The processes are spawned, because a forked process would wait forever for OpenCV's threads, which exist only in its
    parent.
    """
    if not workers:
        return iter(DataLoader(steps, None, sampler=range(start, stop)))
    loader = DataLoader(
        steps,
        None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4,
        multiprocessing_context="spawn",
        worker_init_fn=_lower_priority,
    )
    return iter(loader)


def _lower_priority(worker: int) -> None:  # noqa: ARG001 - DataLoader's signature
    """Give a worker process a lower priority than the training step."""
    os.nice(10)
