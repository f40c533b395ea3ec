"""Measures weights without tuning: boxes, clicks and groups on annotated images that were not used in training."""

# S the network's input side, px

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nano.batches import PromptedImage
from nano.probe import SCENE_SEEDS, fixed_prompts, probe, probe_images
from nano.sources import Entry, image_of, load, open_folder
from nano.tasks import SMALLEST_SHARE, TOP_LEFT, Task
from nano.views import scaled
from ptsam_auto.data.subset import listed_names
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.sam import checkpoint

INSTANCES = 16  # maximum number of instances per image of a test list with a box and a click
GROUPS = 4  # number of attempts to draw a group in each of these images
HEADER = ("images", "weights", "box", "bare box", "click, best of 3", "click, chosen", "group", "prompts")


@dataclass(frozen=True)
class PromptedSet:
    """Images with fixed prompts.

    Args:
        name: Name of the set in the table.
        images: Function that returns the images with their prompts for an input side S, the same at every call.
    """

    name: str
    images: Callable[[int], list[PromptedImage]]


def prompted_sets(data: Sequence[Path], most: int | None = None) -> list[PromptedSet]:
    """Return the sets for the measurement: ten rendered scenes, and the held-out images of each folder.

    Args:
        data: Folders. If a folder has index.csv, its images that pretraining holds out are used together with the
            scenes, as in the probe of the training loop; if it has splits.json and instances/, its test list is used.
        most: Maximum number of images of each test list, from its start; None for all.

    Raises:
        DatasetError: A folder has neither layout, or a file is missing.
    """
    sets = [PromptedSet(f"{len(SCENE_SEEDS)} scenes", partial(probe_images, ()))]
    for folder in data:
        name = folder.resolve().name
        if (folder / "index.csv").is_file():
            held_out = open_folder(folder)[1].entries
            title = f"{name}, {len(held_out)} held out, and those scenes"
            sets.append(PromptedSet(title, partial(probe_images, held_out)))
        else:
            entries = listed_entries(folder, most)
            title = f"{name}, {len(entries)} of the test list"
            sets.append(PromptedSet(title, partial(instance_prompts, entries)))
    return sets


def listed_entries(folder: Path, most: int | None) -> list[Entry]:
    """Return the images of a folder's test list with their instances.

    Raises:
        DatasetError: There are no instances, or a list or an image is missing.
    """
    stems = listed_names(folder, "test")[:most]
    if not (folder / "instances").is_dir():
        raise DatasetError(folder, [Problem("instances/", "missing; boxes and clicks need instances, not masks")])
    return [Entry(image_of(folder, stem), (folder / "instances" / f"{stem}.png",), one_kind=True) for stem in stems]


def instance_prompts(entries: Sequence[Entry], size: int) -> list[PromptedImage]:
    """Return up to 16 instances of each image, down to the smallest size with tasks in training."""
    images = (scaled(load(entry), size) for entry in entries)
    return [
        fixed_prompts(regions, number, INSTANCES, GROUPS, smallest=SMALLEST_SHARE)
        for number, regions in enumerate(images)
    ]


def zero_shot_table(weights: Sequence[str], data: Sequence[Path], most: int | None = None) -> list[list[str]]:
    """Return the mean IoU by prompt type: one line per set and weights, with the columns of HEADER.

    Args:
        weights: Weights, each "nano", the name of an official SAM, or a file.
        data: Folders, see `prompted_sets`.
        most: Maximum number of images, see `prompted_sets`.

    Raises:
        BackboneError: Weights are not available, or are not those of a SAM.
        DatasetError: A folder cannot be read, see `prompted_sets`.
    """
    sets = prompted_sets(data, most)
    backbones = [checkpoint.load(choice) for choice in weights]
    lines = []
    for prompted in sets:
        for choice, backbone in zip(weights, backbones, strict=True):
            images = prompted.images(backbone.sam.image_encoder.img_size)
            report = probe(backbone.sam, images)
            numbers = (report.box, bare_box_iou(images), report.click, report.click_chosen, report.group)
            # Without prompts there is no mean.
            boxes, clicks, groups = report.prompts
            counts = (boxes, boxes, clicks, clicks, groups)
            shown = [f"{number:.3f}" if count else "-" for number, count in zip(numbers, counts, strict=True)]
            lines.append(
                [prompted.name, f"{choice} ({backbone.sha256[:8]})", *shown, "/".join(map(str, report.prompts))]
            )
    return lines


def bare_box_iou(images: Sequence[PromptedImage]) -> float:
    """Return the mean IoU of the boxes themselves as masks; a network that uses the image has to exceed it."""
    iou = [_box_iou(task) for item in images for task in item.tasks if task.roles[0] == TOP_LEFT]
    return float(np.mean(iou)) if iou else 0.0


def _box_iou(task: Task) -> float:
    (left, top), (right, bottom) = np.rint(task.points).astype(int)
    inside = int(np.count_nonzero(task.target[top:bottom, left:right]))
    return inside / ((bottom - top) * (right - left) + int(np.count_nonzero(task.target)) - inside)


def markdown(lines: Sequence[Sequence[str]], command: str) -> str:
    """Return the table in Markdown, with the command that made it."""
    rows = (HEADER, ["---"] * len(HEADER), *lines)
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"Mean IoU without tuning. Made with `{command}`.\n\n{table}\n"
