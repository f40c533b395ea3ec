"""What nano is asked about an image: a box, clicks on one region or on several for all of their kind, a concept."""

# h w  an image's frame in px   k  points of a task, x before y, in px of the frame

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ptsam_auto.pretrain.filters import FILTERS, filtered
from ptsam_auto.pretrain.looks import alike
from ptsam_auto.pretrain.sources import Regions, Rng

# In SAM's prompt encoder a point is a background click, a foreground click, or one of a box's two corners.
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3

Asked = Literal["box", "click", "clicks", "group", "concept"]

SMALLEST_SHARE = 1 / 64**2 / 2  # of the frame: a region below half a 64th x 64th is not asked about
MOST_CONCEPTS = 2  # asked of an image
MIDST = 7  # px around a click that should show the same
BOX_JITTER = 0.05  # standard deviation of a corner, in box sides


@dataclass(frozen=True)
class Task:
    """One prompt and its answer.

    Args:
        asked: "box", "click" (one), "clicks" (three), "group" or "concept" (no points at all).
        points: k 2, float32, x and y in px.
        roles: k, int64: 0 negative click, 1 positive click, 2 and 3 a box's corners.
        answer: h w, bool.
        concept: which, if a concept is asked for.
    """

    asked: Asked
    points: np.ndarray
    roles: np.ndarray
    answer: np.ndarray
    concept: str = ""


def tasks(rng: Rng, regions: Regions) -> list[Task]:
    """A box, clicks, a group (where kinds are not known, a box), concepts (or a click), what a filter sees, a look.

    "All of these" comes up again and again since it is what a specialist will be asked. Empty if no region is large
    enough.
    """
    areas = np.bincount(regions.labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(12, SMALLEST_SHARE * regions.labels.size))
    if not len(large):
        return []
    weights = areas[large] ** 0.25
    chosen = rng.choice(large, 4, p=weights / weights.sum(), replace=len(large) < 4)
    masks = [regions.labels == label for label in chosen]
    found = [box_task(rng, masks[0]), click_task(rng, masks[1], int(rng.choice([1, 1, 3])))]
    return [
        *found,
        group_task(rng, regions) or box_task(rng, masks[2]),
        *(concept_tasks(rng, regions) or [click_task(rng, masks[3], 1)]),
        *filter_tasks(rng, regions),
        *look_tasks(rng, regions),
    ]


def box_task(rng: Rng, mask: np.ndarray, jitter: float = BOX_JITTER) -> Task:
    """The mask from its bounding box, drawn as loosely as people do."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    box += np.clip(rng.normal(0, jitter, (2, 2)), -0.15, 0.15) * (box[1] - box[0])
    points = np.clip(box, 0, [width, height]).astype(np.float32)
    return Task("box", points, np.array([TOP_LEFT, BOTTOM_RIGHT]), mask)


def click_task(rng: Rng, mask: np.ndarray, clicks: int) -> Task:
    """The mask from one click or several inside it."""
    points = np.stack([pixel_of(rng, mask) for _ in range(clicks)])
    return Task("click" if clicks == 1 else "clicks", points, np.full(clicks, POSITIVE), mask)


def group_task(rng: Rng, regions: Regions) -> Task | None:
    """All objects of one kind from 1-7 clicks on them and up to 5 beside them; None where kinds are not known.

    Sometimes the kind is the ground itself, or the outline that objects share (a thin structure): the negative clicks
    then say that the objects are not meant.
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
    answer = kind_hw == kind
    if not _askable(answer):
        return None
    positive = _clicks_on(rng, regions.labels, np.unique(regions.labels[answer]), int(rng.integers(1, 8)))
    return _with_negatives(rng, answer, positive, kind_hw > 0, at_least=0)


def concept_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Everything that a concept of the image stands for, from nothing but the concept's own prompt; up to two.

    It is what a specialist does, learned for many specialists at once while the network itself still learns.
    """
    found: list[Task] = []
    for name in rng.permutation(sorted(regions.concepts)):
        kinds = regions.concepts[name]
        if not kinds:
            answer = outline(regions.labels)
        elif regions.kinds is not None:
            answer = np.isin(regions.kinds, list(kinds))[regions.labels]
        if _askable(answer):
            found.append(_called(str(name), answer))
    return found[:MOST_CONCEPTS]


def filter_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """Where one of the simple filters answers, from its own prompt; none in an image that gives it nothing to see."""
    name = str(rng.choice(list(FILTERS)))
    answer = filtered(regions.image, name)
    return [_called(name, answer)] if answer is not None and _askable(answer) else []


def look_tasks(rng: Rng, regions: Regions) -> list[Task]:
    """All that looks alike, from clicks on it and beside it; none where nothing stands out."""
    answer = alike(rng, regions.image)
    if answer is None or not _askable(answer):
        return []
    # A click in the midst of its look says more than one on a speck.
    midst, other = (_midst(mask) for mask in (answer, ~answer))
    positive = [pixel_of(rng, midst) for _ in range(int(rng.integers(2, 9)))]
    negative = [pixel_of(rng, other) for _ in range(int(rng.integers(2, 7)))]
    roles = np.array([POSITIVE] * len(positive) + [NEGATIVE] * len(negative))
    return [Task("group", np.stack(positive + negative), roles, answer)]


def _midst(mask: np.ndarray) -> np.ndarray:
    """Pixels surrounded by their like; all of the mask if it has none."""
    inner = mask & (cv2.blur(mask.astype(np.float32), (MIDST, MIDST)) > 0.8)
    return inner if inner.any() else mask


def _called(concept: str, answer: np.ndarray) -> Task:
    return Task("concept", np.empty((0, 2), np.float32), np.empty(0, np.int64), answer, concept)


def outline(labels: np.ndarray) -> np.ndarray:
    """Where a region meets another or the ground, h w bool, about 1.5 % of the width thick."""
    thick = max(3, round(0.012 * max(labels.shape))) | 1
    lattice = labels.astype(np.float32)
    kernel = np.ones((thick, thick), np.uint8)
    return cv2.dilate(lattice, kernel) != cv2.erode(lattice, kernel)


def pixel_of(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """The middle of a random pixel of the mask, x y."""
    flat = np.flatnonzero(mask)
    row, column = divmod(int(flat[rng.integers(len(flat))]), mask.shape[1])
    return np.array([column + 0.5, row + 0.5], np.float32)


def _from_mask(rng: Rng, answer: np.ndarray, others: np.ndarray, at_least: int) -> Task | None:
    if not _askable(answer) or not (others & ~answer).any():
        return None
    positive = [pixel_of(rng, answer) for _ in range(int(rng.integers(1, 8)))]
    return _with_negatives(rng, answer, positive, others, at_least)


def _with_negatives(
    rng: Rng, answer: np.ndarray, positive: list[np.ndarray], others: np.ndarray, at_least: int
) -> Task:
    """Negative clicks fall half on other objects, where there are any, and half on anything that is not meant."""
    wrong, wrong_objects = ~answer, others & ~answer
    negative: list[np.ndarray] = []
    for _ in range(int(rng.integers(at_least, 6))):
        tempting = wrong_objects.any() and (rng.random() < 0.5 or len(negative) < at_least)
        negative.append(pixel_of(rng, wrong_objects if tempting else wrong))
    roles = np.array([POSITIVE] * len(positive) + [NEGATIVE] * len(negative))
    return Task("group", np.stack(positive + negative), roles, answer)


def _clicks_on(rng: Rng, labels: np.ndarray, meant: np.ndarray, count: int) -> list[np.ndarray]:
    """Clicks on different objects while there are any, then again on the same ones."""
    order = np.concatenate([rng.permutation(meant) for _ in range(-(-count // len(meant)))])[:count]
    return [pixel_of(rng, labels == label) for label in order]


def _askable(answer: np.ndarray) -> bool:
    """Neither next to nothing nor next to everything."""
    return bool(0.002 < answer.mean() < 0.9)
