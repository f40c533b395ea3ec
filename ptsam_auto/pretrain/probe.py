"""A quick look at what the average can do without tuning: fixed prompts on images that were held out."""

# S the network's input side, px

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import Sam

from ptsam_auto.data.render import render_scene
from ptsam_auto.pretrain.batches import Asking, collate
from ptsam_auto.pretrain.objective import TOKENS, answer, embed, overlap
from ptsam_auto.pretrain.sources import Entry, Regions, load
from ptsam_auto.pretrain.tasks import Asked, Task, box_task, click_task, group_task
from ptsam_auto.pretrain.views import scaled
from ptsam_auto.sam.encode import encode

SCENE_SEEDS = range(10**12, 10**12 + 10)  # training draws below 2**62; meeting one of these ten is not to be expected
REGIONS = 4  # asked about in each image
SMALLEST_ASKED = 0.0005  # of the frame
SEED = 2304


@dataclass(frozen=True)
class ProbeReport:
    """Mean IoU over all prompts of a sort, 0 to 1.

    Args:
        box: from a box, mask token 0.
        click: one click, the best of three.
        click_chosen: one click, the one of three that the network rates best.
        group: all of a kind from several clicks, mask token 0.
        prompts: how many of each sort, in this order.
    """

    box: float
    click: float
    click_chosen: float
    group: float
    prompts: tuple[int, int, int]


def probe_images(held_out: Sequence[Entry], size: int) -> list[Asking]:
    """Whole held-out images and ten scenes, with the same prompts at every call."""
    scenes = [render_scene(seed, size) for seed in SCENE_SEEDS]
    regions = [load(entry) for entry in held_out]
    regions += [Regions(scene.image, scene.labels, scene.kinds, ground_known=True) for scene in scenes]
    return [asked(scaled(found, size), number) for number, found in enumerate(regions)]


def asked(
    regions: Regions, number: int, count: int = REGIONS, groups: int = 1, smallest: float = SMALLEST_ASKED
) -> Asking:
    """A box and a click for some of the regions, and groups; the same at every call.

    Args:
        regions: an image in the network's frame.
        number: another number, other regions and clicks.
        count: most regions asked about.
        groups: tries at a group; none where kinds are not known.
        smallest: region asked about, as a share of the frame.
    """
    rng = np.random.default_rng([SEED, number])
    areas = np.bincount(regions.labels.ravel())[1:]
    large = np.flatnonzero(areas >= smallest * regions.labels.size) + 1
    tasks: list[Task] = []
    for label in rng.permutation(large)[:count]:
        mask = regions.labels == label
        tasks += [box_task(rng, mask, jitter=0), click_task(rng, mask, 1)]
    for _ in range(groups):
        if group := group_task(rng, regions):
            tasks.append(group)
    return Asking(regions, tasks)


@torch.inference_mode()
def probe(sam: Sam, images: Sequence[Asking]) -> ProbeReport:
    """Ask the network what `images` ask.

    Args:
        sam: at the size that the images were made for.
        images: from `probe_images`.
    """
    size = sam.image_encoder.img_size
    found: dict[Asked, list[float]] = {"box": [], "click": [], "group": []}
    chosen: list[float] = []
    for item in images:
        if not item.tasks:
            continue
        batch = collate([item], size)
        features = encode(sam.image_encoder, (batch.images - sam.pixel_mean) / sam.pixel_std)
        for sort, questions in batch.questions.items():
            prompts = embed(sam.prompt_encoder, questions.points, questions.roles)
            features_T256GG = features.expand(len(prompts), -1, -1, -1)
            logits_TAMM, predicted_TA = answer(sam, features_T256GG, prompts, TOKENS[sort])
            iou_TA = overlap(logits_TAMM > 0, questions.answers, batch.inside[questions.image])
            found[sort] += iou_TA.amax(1).tolist()
            if sort == "click":
                chosen += iou_TA.gather(1, predicted_TA.argmax(1, keepdim=True))[:, 0].tolist()
    counts = (len(found["box"]), len(found["click"]), len(found["group"]))
    box, click, best, group = (
        float(np.mean(v)) if v else 0.0 for v in (found["box"], found["click"], chosen, found["group"])
    )
    return ProbeReport(box, click, best, group, counts)
