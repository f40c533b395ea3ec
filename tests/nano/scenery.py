"""Small folders and sources to pretrain toys on."""

import csv
import json

import cv2
import numpy as np

from nano.scenes.scene import render_scene
from nano.sources import Regions, scene_concepts


def scene_regions(seed=0, size=96, scene_type=None):
    scene = render_scene(seed, size, scene_type)
    return Regions(scene.image, scene.labels, scene.kinds, True, scene_concepts(scene.scene_type))


class TwoScenes:
    """The same two scenes over and over."""

    images = 2
    concepts = (*scene_concepts("fluorescence"), *scene_concepts("bacteria"))

    def __init__(self, size=64):
        self.regions = [scene_regions(3, size, "fluorescence"), scene_regions(4, size, "bacteria")]

    def draw(self, rng, size):
        return self.regions[rng.integers(2)]


def write_split_folder(folder, part="instances"):
    """Images with splits.json; those of val and test are no images at all."""
    for name in ("images", part):
        (folder / name).mkdir(parents=True)
    splits = {"train": ["a", "b", "c"], "val": ["v"], "test": ["t"], "note": "none"}
    for number, stem in enumerate(splits["train"]):
        scene = render_scene(number, 96, "fluorescence")
        labels = scene.labels.astype(np.uint16) if part == "instances" else (scene.labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(folder / "images" / f"{stem}.png"), scene.image[..., ::-1])
        cv2.imwrite(str(folder / part / f"{stem}.png"), labels)
    for stem in ("v", "t"):
        for name in ("images", part):
            (folder / name / f"{stem}.png").write_text("not an image")
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def write_indexed_folder(folder, count=20, kinds=("components", "instances")):
    """Images with index.csv; every second one has a coarser label map."""
    for name in ("images", "labels", "labels_alt"):
        (folder / name).mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["stem", "source", "kind", "has_alt"])
        for number in range(count):
            stem, labels = f"image_{number}", np.zeros((70, 90), np.uint16)
            labels[10:40, 10:40], labels[30:60, 50:80] = 7, 300
            image = np.where(labels[..., None] > 0, 200, 40).repeat(3, 2).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), image)
            cv2.imwrite(str(folder / "labels" / f"{stem}.png"), labels)
            if number % 2:
                cv2.imwrite(str(folder / "labels_alt" / f"{stem}.png"), (labels > 0).astype(np.uint16))
            rows.writerow([stem, "us", kinds[number % len(kinds)], number % 2])
    return folder
