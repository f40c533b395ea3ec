"""Batches as tensors, each a pure function of (seed, step): resuming needs no more than the step's number."""

# B images  S input side, px  T tasks of one sort  k points of a task  M = S / 2, side at which masks are compared

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptsam_auto.pretrain.filters import FILTERS
from ptsam_auto.pretrain.sources import Regions, Source
from ptsam_auto.pretrain.tasks import Asked, Task, tasks
from ptsam_auto.pretrain.views import view

NOT_A_POINT = -1  # SAM's own filler
NO_CONCEPT = -1
TRIES = 20  # views without a region that can be asked about are drawn again


@dataclass(frozen=True)
class Questions:
    """Tasks of one sort over the whole batch.

    Args:
        image: T, int64, which image of the batch.
        points: T k 2, float32, px of the network's input; padded by (0, 0).
        roles: T k, int64, as in `Task`, -1 for padding. Clicks end with one padding point, as SAM's predictor has it.
        concepts: T, int64, number of the concept asked for; -1 where points say what is meant.
        answers: T M M, bool.
    """

    image: Tensor
    points: Tensor
    roles: Tensor
    concepts: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Batch:
    """Everything one step needs.

    Args:
        images: B 3 S S, uint8, padded by zeros at the bottom and right.
        inside: B M M, bool, where there is image rather than padding.
        questions: by what is asked; a sort that nobody drew is absent.
    """

    images: Tensor
    inside: Tensor
    questions: dict[Asked, Questions]


@dataclass(frozen=True)
class Asking:
    """An image with its tasks."""

    regions: Regions
    tasks: list[Task]


def asking(source: Source, seed: int, step: int, index: int, size: int) -> Asking:
    """The step's `index`-th image and its tasks."""
    rng = np.random.default_rng([seed, step, index])
    for _ in range(TRIES):
        regions = view(rng, source.draw(rng, size), size)
        if found := tasks(rng, regions):
            return Asking(regions, found)
    raise RuntimeError(f"{TRIES} images in a row have no region that is large enough to be asked about.")


def collate(items: Sequence[Asking], size: int, concepts: Sequence[str] = ()) -> Batch:
    """Pad images and tasks to one size; concepts are numbered by their place in `concepts`."""
    numbers = {name: number for number, name in enumerate(concepts)}
    half = size // 2
    images_BSS3 = np.zeros((len(items), size, size, 3), np.uint8)
    inside_BMM = np.zeros((len(items), half, half), bool)
    sorts: dict[Asked, list[tuple[int, Task]]] = {}
    for number, item in enumerate(items):
        height, width = item.regions.labels.shape
        images_BSS3[number, :height, :width] = item.regions.image
        inside_BMM[number, : -(-height // 2), : -(-width // 2)] = True
        for task in item.tasks:
            sorts.setdefault(task.asked, []).append((number, task))
    images = torch.from_numpy(images_BSS3).permute(0, 3, 1, 2).contiguous()
    questions = {asked: _questions(sorts[asked], half, numbers) for asked in sorted(sorts)}
    return Batch(images, torch.from_numpy(inside_BMM), questions)


def _questions(found: list[tuple[int, Task]], half: int, numbers: Mapping[str, int]) -> Questions:
    longest = max(len(task.points) + (task.asked != "box") for _, task in found)
    points = np.zeros((len(found), longest, 2), np.float32)
    roles = np.full((len(found), longest), NOT_A_POINT, np.int64)
    answers = np.zeros((len(found), half, half), bool)
    for row, (_, task) in enumerate(found):
        points[row, : len(task.points)] = task.points
        roles[row, : len(task.roles)] = task.roles
        answers[row] = halved(task.answer, half)
    which = torch.tensor([number for number, _ in found])
    meant = torch.tensor([numbers[task.concept] if task.concept else NO_CONCEPT for _, task in found])
    return Questions(which, torch.from_numpy(points), torch.from_numpy(roles), meant, torch.from_numpy(answers))


def halved(mask: np.ndarray, half: int) -> np.ndarray:
    """An h w mask at half its size, inside M M; thin structures survive: a pixel of four counts as half of them do."""
    height, width = mask.shape
    padded = np.zeros((2 * half, 2 * half), np.float32)
    padded[:height, :width] = mask
    return cv2.resize(padded, (half, half), interpolation=cv2.INTER_AREA) >= 0.5


def vocabulary(source: Source) -> tuple[str, ...]:
    """All concepts that may be asked for: the filters' and the source's own."""
    return (*FILTERS, *source.concepts)


class Steps(Dataset):
    """Item `step` is that step's batch."""

    def __init__(self, source: Source, seed: int, batch: int, size: int) -> None:
        self.source, self.seed, self.batch, self.size = source, seed, batch, size

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)
        items = [asking(self.source, self.seed, step, index, self.size) for index in range(self.batch)]
        return collate(items, self.size, vocabulary(self.source))


def batches(steps: Steps, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of steps `start` to `stop`, drawn ahead in `workers` processes (0: when they are needed)."""
    if not workers:
        return iter(DataLoader(steps, None, sampler=range(start, stop)))
    # A forked process would wait for ever for OpenCV's threads, which stayed behind in its parent.
    ahead = DataLoader(
        steps,
        None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4,
        multiprocessing_context="spawn",
        worker_init_fn=_give_way,
    )
    return iter(ahead)


def _give_way(worker: int) -> None:  # noqa: ARG001 - DataLoader's signature
    """What is drawn ahead can wait; the step that is being computed should not."""
    os.nice(10)
