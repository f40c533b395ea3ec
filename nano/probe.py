"""IoU of the averaged weights on fixed prompts for held-out images, without any tuning."""

# S the network's input side, px

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nano.batches import PromptedImage, collate
from nano.loss import TOKENS, embed_points, masks_iou, predict_masks
from nano.scenes.scene import render_scene
from nano.sources import Entry, Regions, load
from nano.tasks import PromptType, Task, box_task, click_task, group_task
from nano.views import scaled
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.published import Sam

# Training draws scene seeds below 2**62 at random, so none of these ten is likely to be among them.
SCENE_SEEDS = range(10**12, 10**12 + 10)
REGIONS = 4  # number of regions per image with a box and a click
SMALLEST_SHARE = 0.0005  # minimum area of such a region, as a fraction of the image
SEED = 2304


@dataclass(frozen=True)
class ProbeReport:
    """Mean IoU over all prompts of a type, 0 to 1.

    Args:
        box: IoU from a box, with mask token 0.
        click: IoU from one click, with the best of three candidate masks.
        click_chosen: IoU from one click, with the candidate that has the highest predicted IoU.
        group: IoU of all objects of a kind from several clicks, with mask token 0.
        prompts: Numbers of boxes, clicks and groups.
    """

    box: float
    click: float
    click_chosen: float
    group: float
    prompts: tuple[int, int, int]


def probe_images(held_out: Sequence[Entry], size: int) -> list[PromptedImage]:
    """Return complete held-out images and ten scenes, with the same prompts at every call."""
    scenes = [render_scene(seed, size) for seed in SCENE_SEEDS]
    regions = [load(entry) for entry in held_out]
    regions += [Regions(scene.image, scene.labels, scene.kinds, ground_known=True) for scene in scenes]
    return [fixed_prompts(scaled(image, size), number) for number, image in enumerate(regions)]


def fixed_prompts(
    regions: Regions, number: int, count: int = REGIONS, groups: int = 1, smallest: float = SMALLEST_SHARE
) -> PromptedImage:
    """Return a box and a click for some of the regions, and groups; the same at every call.

    Args:
        regions: Image that is scaled to the network's input size.
        number: Random seed for the selection of regions and clicks.
        count: Maximum number of regions.
        groups: Number of attempts to draw a group; there is no group if kinds are not known.
        smallest: Minimum area of a selected region, as a fraction of the image.
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
    return PromptedImage(regions, tasks)


@torch.inference_mode()
def probe(sam: Sam, images: Sequence[PromptedImage]) -> ProbeReport:
    """Predict the masks of all prompts and compare them with their targets.

    Args:
        sam: Network with the input size of the images.
        images: Images from `probe_images` or `fixed_prompts`.
    """
    size = sam.image_encoder.img_size
    iou: dict[PromptType, list[float]] = {"box": [], "click": [], "group": []}
    chosen: list[float] = []
    for item in images:
        if not item.tasks:
            continue
        batch = collate([item], size)
        features = encode(sam.image_encoder, (batch.images - sam.pixel_mean) / sam.pixel_std)
        for prompt_type, prompts in batch.prompts.items():
            prompts_TkD = embed_points(sam.prompt_encoder, prompts.points, prompts.roles)
            features_T256GG = features.expand(len(prompts_TkD), -1, -1, -1)
            logits_TAMM, predicted_TA = predict_masks(sam, features_T256GG, prompts_TkD, TOKENS[prompt_type])
            iou_TA = masks_iou(logits_TAMM > 0, prompts.targets, batch.inside[prompts.image])
            iou[prompt_type] += iou_TA.amax(1).tolist()
            if prompt_type == "click":
                chosen += iou_TA.gather(1, predicted_TA.argmax(1, keepdim=True))[:, 0].tolist()
    counts = (len(iou["box"]), len(iou["click"]), len(iou["group"]))
    box, click, best, group = (
        float(np.mean(values)) if values else 0.0 for values in (iou["box"], iou["click"], chosen, iou["group"])
    )
    return ProbeReport(box, click, best, group, counts)
