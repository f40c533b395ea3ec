"""What a generalist can do untuned: prompts on held-out images of its mix, and on sets that it never saw."""

# S the network's input side, px

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from segment_anything.modeling import Sam

from ptsam_auto.pretrain.batches import Asking
from ptsam_auto.pretrain.probe import SCENE_SEEDS, asked, probe, probe_images
from ptsam_auto.pretrain.sources import Entry, load
from ptsam_auto.pretrain.tasks import SMALLEST_SHARE, TOP_LEFT, Task
from ptsam_auto.pretrain.views import scaled

INSTANCES = 16  # asked about in each image of a set that was never seen
GROUPS = 4  # tries, in each


@dataclass(frozen=True)
class Prompted:
    """Images to prompt on.

    Args:
        name: of the table's row.
        count: images, rendered ones included.
        entries: the files among them.
        images: those images with their prompts for an S, the same at every call.
    """

    name: str
    count: int
    entries: tuple[Entry, ...]
    images: Callable[[int], list[Asking]]


def held_out_of_the_mix(entries: Sequence[Entry]) -> list[Prompted]:
    """What the training loop probes (held-out images and ten scenes, so that numbers compare), and scenes alone."""
    rendered = len(SCENE_SEEDS)
    scenes = Prompted("scenes, held out", rendered, (), lambda size: probe_images([], size))
    if not entries:
        return [scenes]
    whole = tuple(entries)
    return [Prompted("mix, held out", len(whole) + rendered, whole, lambda size: probe_images(whole, size)), scenes]


def never_seen(name: str, entries: Sequence[Entry]) -> Prompted:
    """Up to 16 instances of each image, down to the smallest that training asks about."""

    def images(size: int) -> list[Asking]:
        found = (scaled(load(entry), size) for entry in entries)
        return [
            asked(regions, number, INSTANCES, GROUPS, smallest=SMALLEST_SHARE) for number, regions in enumerate(found)
        ]

    return Prompted(f"{name}, test", len(entries), tuple(entries), images)


def measure(sam: Sam, images: Sequence[Asking]) -> tuple[dict[str, float], float]:
    """Mean IoU by what was asked (see `ProbeReport`), of the bare boxes, and how many prompts; and CPU seconds."""
    began = time.process_time()
    report = asdict(probe(sam, images))
    counts = dict(zip(("boxes", "clicks", "groups"), report.pop("prompts"), strict=True))
    return {**report, "filled_box": filled_box(images), **counts}, time.process_time() - began


def filled_box(images: Sequence[Asking]) -> float:
    """Mean IoU of the boxes themselves as masks: what a network must exceed to have looked at the image at all."""
    found = [_box_iou(task) for item in images for task in item.tasks if task.roles[0] == TOP_LEFT]
    return float(np.mean(found)) if found else 0.0


def _box_iou(task: Task) -> float:
    (left, top), (right, bottom) = np.rint(task.points).astype(int)
    inside = int(np.count_nonzero(task.answer[top:bottom, left:right]))
    return inside / ((bottom - top) * (right - left) + int(np.count_nonzero(task.answer)) - inside)
