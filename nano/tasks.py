"""Training tasks: prompts for an image, each with its target mask."""

# h w  size of a scaled image in px   k  points of a task, x before y, in px of the scaled image

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from nano.appearance import appearance_cluster
from nano.filters import FILTERS, filter_mask
from nano.sources import Regions
from ptsam_auto.data.random_fields import Rng

# In SAM's prompt encoder a point is a background click, a foreground click, or one of a box's two corners.
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3

PromptType = Literal["box", "click", "clicks", "group", "concept"]

SMALLEST_SHARE = 1 / 64**2 / 2  # minimum area of a region with a task, as a fraction of the image
MAX_CONCEPTS = 2  # maximum number of concept tasks per image
INNER_WINDOW = 7  # side, px, of the window around a click that should mostly belong to the same mask
BOX_JITTER = 0.05  # standard deviation of a corner, relative to the sides of the box


@dataclass(frozen=True)
class Task:
    """One prompt and its target.

    Args:
        prompt_type: "box", "click" (one), "clicks" (three), "group" (clicks on some of several objects) or "concept"
            (no points; the prompts are the concept's learned ones).
        points: Points, k 2, float32, x and y in px.
        roles: Roles of the points, k, int64: 0 negative click, 1 positive click, 2 and 3 corners of a box.
        target: Target mask, h w, bool.
        concept: Name of the concept; "" for every other prompt type.
    """

    prompt_type: PromptType
    points: np.ndarray
    roles: np.ndarray
    target: np.ndarray
    concept: str = ""


def draw_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Return random tasks for an image; none if no region is large enough.

    They are a box, one or three clicks, a group (a box if kinds are not known), up to two concepts (a click if there
    are none), and, if they exist, the response of a filter and a cluster of similar appearance. The target of most
    tasks is all objects of a kind, as for a specialist.
    """
    areas = np.bincount(regions.labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(12, SMALLEST_SHARE * regions.labels.size))
    if not len(large):
        return []
    weights = areas[large] ** 0.25
    chosen = rng.choice(large, 4, p=weights / weights.sum(), replace=len(large) < 4)
    masks = [regions.labels == label for label in chosen]
    first = [box_task(rng, masks[0]), click_task(rng, masks[1], int(rng.choice([1, 1, 3])))]
    return [
        *first,
        group_task(rng, regions) or box_task(rng, masks[2]),
        *(concept_tasks(rng, regions) or [click_task(rng, masks[3], 1)]),
        *filter_tasks(rng, regions),
        *appearance_tasks(rng, regions),
    ]


def box_task(rng: Rng, mask: np.ndarray, jitter: float = BOX_JITTER) -> Task:
    """Return the task to predict a mask from its bounding box, with small random shifts of the corners."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    box += np.clip(rng.normal(0, jitter, (2, 2)), -0.15, 0.15) * (box[1] - box[0])
    points = np.clip(box, 0, [width, height]).astype(np.float32)
    return Task("box", points, np.array([TOP_LEFT, BOTTOM_RIGHT]), mask)


def click_task(rng: Rng, mask: np.ndarray, clicks: int) -> Task:
    """Return the task to predict a mask from one or several clicks inside it."""
    points = np.stack([random_pixel(rng, mask) for _ in range(clicks)])
    return Task("click" if clicks == 1 else "clicks", points, np.full(clicks, POSITIVE), mask)


def group_task(rng: Rng, regions: Regions) -> Task | None:
    """Return the task to predict all objects of one kind from 1 to 7 positive clicks and up to 5 negative ones.

    It is None if kinds are not known.

    Sometimes the target is the background, or the outlines of objects (a thin structure); negative clicks then exclude
    the objects themselves.
    """
    if regions.kinds is None or not regions.ground_known:
        return None
    kind_hw = regions.kinds[regions.labels]
    draw = rng.random()
    if draw < 0.12:
        return _from_mask(rng, outline(regions.labels), regions.labels > 0, at_least=2)
    if draw < 0.2:
        return _from_mask(rng, kind_hw == 0, kind_hw > 0, at_least=1)
    kinds = np.unique(kind_hw[kind_hw > 0])
    if not len(kinds):
        return None
    kind = rng.choice(kinds)
    target = kind_hw == kind
    if not _has_usable_size(target):
        return None
    positive = _clicks_on(rng, regions.labels, np.unique(regions.labels[target]), int(rng.integers(1, 8)))
    return _with_negatives(rng, target, positive, kind_hw > 0, at_least=0)


def concept_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Return up to two tasks to predict all objects of a concept from the learned prompts of that concept alone.

    A specialist is used in the same way. Here the prompts of many concepts are learned together with the network. A
    concept that covers kinds has no task in an image whose kinds are not known.
    """
    found: list[Task] = []
    for name in rng.permutation(sorted(regions.concepts)):
        kinds = regions.concepts[name]
        if not kinds:
            target = outline(regions.labels)
        elif regions.kinds is not None:
            target = np.isin(regions.kinds, list(kinds))[regions.labels]
        else:
            continue
        if _has_usable_size(target):
            found.append(_concept_task(str(name), target))
    return found[:MAX_CONCEPTS]


def filter_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Return the task to predict the response of a random filter from its learned prompts; none without a response."""
    name = str(rng.choice(list(FILTERS)))
    target = filter_mask(regions.image, name)
    return [_concept_task(name, target)] if target is not None and _has_usable_size(target) else []


def appearance_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Return the task to predict pixels of similar appearance from positive and negative clicks, if there are any."""
    target = appearance_cluster(rng, regions.image)
    if target is None or not _has_usable_size(target):
        return []
    # A click that is surrounded by its own cluster is more informative than one on a single pixel.
    inside, outside = (_inner_pixels(mask) for mask in (target, ~target))
    positive = [random_pixel(rng, inside) for _ in range(int(rng.integers(2, 9)))]
    negative = [random_pixel(rng, outside) for _ in range(int(rng.integers(2, 7)))]
    roles = np.array([POSITIVE] * len(positive) + [NEGATIVE] * len(negative))
    return [Task("group", np.stack(positive + negative), roles, target)]


def _inner_pixels(mask: np.ndarray) -> np.ndarray:
    """Return the pixels whose neighbours mostly belong to the mask too; the complete mask if there are none."""
    inner = mask & (cv2.blur(mask.astype(np.float32), (INNER_WINDOW, INNER_WINDOW)) > 0.8)
    return inner if inner.any() else mask


def _concept_task(concept: str, target: np.ndarray) -> Task:
    return Task("concept", np.empty((0, 2), np.float32), np.empty(0, np.int64), target, concept)


def outline(labels: np.ndarray) -> np.ndarray:
    """Return the borders of regions with each other and with the background, h w bool, about 1.5 % of the width."""
    thick = max(3, round(0.012 * max(labels.shape))) | 1
    values = labels.astype(np.float32)
    kernel = np.ones((thick, thick), np.uint8)
    return cv2.dilate(values, kernel) != cv2.erode(values, kernel)


def random_pixel(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Return the centre of a random pixel of the mask, x y."""
    flat = np.flatnonzero(mask)
    row, column = divmod(int(flat[rng.integers(len(flat))]), mask.shape[1])
    return np.array([column + 0.5, row + 0.5], np.float32)


def _from_mask(rng: Rng, target: np.ndarray, others: np.ndarray, at_least: int) -> Task | None:
    if not _has_usable_size(target) or not (others & ~target).any():
        return None
    positive = [random_pixel(rng, target) for _ in range(int(rng.integers(1, 8)))]
    return _with_negatives(rng, target, positive, others, at_least)


def _with_negatives(
    rng: Rng, target: np.ndarray, positive: list[np.ndarray], others: np.ndarray, at_least: int
) -> Task:
    """Add negative clicks: half of them on other objects, if there are any, the others anywhere outside the target."""
    off_target, other_objects = ~target, others & ~target
    negative: list[np.ndarray] = []
    for _ in range(int(rng.integers(at_least, 6))):
        on_object = other_objects.any() and (rng.random() < 0.5 or len(negative) < at_least)
        negative.append(random_pixel(rng, other_objects if on_object else off_target))
    roles = np.array([POSITIVE] * len(positive) + [NEGATIVE] * len(negative))
    return Task("group", np.stack(positive + negative), roles, target)


def _clicks_on(rng: Rng, labels: np.ndarray, objects: np.ndarray, count: int) -> list[np.ndarray]:
    """Return clicks on different objects as long as there are any, then again on the same ones."""
    order = np.concatenate([rng.permutation(objects) for _ in range(-(-count // len(objects)))])[:count]
    return [random_pixel(rng, labels == label) for label in order]


def _has_usable_size(target: np.ndarray) -> bool:
    """Return whether a target is neither nearly empty nor nearly the complete image."""
    return bool(0.002 < target.mean() < 0.9)
