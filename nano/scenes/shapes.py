"""Shapes and label maps that only scenes need; the others are in `ptsam_auto.data.object_map`."""

# H W  a scene's size in px (square)   N  points of an outline, x before y, in px

import cv2
import numpy as np

from nano.scenes.textures import warped
from ptsam_auto.data.object_map import ObjectMap, places, turn
from ptsam_auto.data.random_fields import Rng

SMALLEST_PX = 12  # an instance with fewer visible pixels is left out of a scene


class SceneObjects(ObjectMap):
    """A label map whose instances can also be drawn from masks; the labels are renumbered after drawing."""

    def put(self, mask_HW: np.ndarray, kind: int) -> None:
        """Draw one instance from its mask."""
        self.kinds.append(kind)
        self.labels_HW[mask_HW] = len(self.kinds) - 1

    def finished(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels (H W int32, 1 to n) and their kinds (n + 1, int32), without instances that are too small."""
        areas = np.bincount(self.labels_HW.ravel(), minlength=len(self.kinds))
        kept = areas >= SMALLEST_PX
        kept[0] = False
        new = np.zeros(len(self.kinds), np.int32)
        new[kept] = np.arange(1, kept.sum() + 1)
        kinds = np.concatenate([[0], np.asarray(self.kinds, np.int32)[kept]])
        return new[self.labels_HW], kinds.astype(np.int32)


def facets(rng: Rng, centre: np.ndarray, radius: float, aspect: float = 1.0, corners: int = 6) -> np.ndarray:
    """A convex polygon, N 2, as crystals and stones have."""
    theta = np.sort(
        rng.uniform(0, 2 * np.pi) + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    )
    points = radius * np.stack([np.cos(theta) * np.sqrt(aspect), np.sin(theta) / np.sqrt(aspect)], 1)
    return points @ turn(rng.uniform(0, np.pi)) + centre


def rod(rng: Rng, centre: np.ndarray, length: float, width: float, bend: float = 0.3) -> np.ndarray:
    """A bent bar with round ends, N 2."""
    along = np.linspace(-0.5, 0.5, 14)
    heading = rng.normal(0, bend) * 2 * along
    spine = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0) * length / 14
    spine -= spine.mean(0)
    across = np.stack([-np.sin(heading), np.cos(heading)], 1) * width / 2
    across *= np.sqrt(np.clip(1 - (2 * along) ** 8, 0.15, 1))[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]]) @ turn(rng.uniform(0, np.pi)) + centre


def partition(rng: Rng, size: int, cells: int, wobble: float) -> np.ndarray:
    """Return a map of about `cells` cells without background, with random borders of `wobble` px: H W int32 from 1."""
    seeds = np.full((size, size), 255, np.uint8)
    spread = size / np.sqrt(cells)
    for centre, radius in places(rng, size, spread * rng.uniform(0.1, 0.45, cells), 0.9):
        cv2.circle(seeds, (int(centre[0]), int(centre[1])), max(1, int(0.6 * radius)), 0, -1)
    _, labels_HW = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    if wobble > 0:
        labels_HW = warped(rng, labels_HW, spread / 2, wobble, nearest=True)
    return labels_HW.astype(np.int32)


def to_border(labels_HW: np.ndarray) -> np.ndarray:
    """Return the distance in px to the nearest border between two labels, H W float32."""
    same = np.ones(labels_HW.shape, np.uint8)
    same[:, 1:][labels_HW[:, 1:] != labels_HW[:, :-1]] = 0
    same[1:][labels_HW[1:] != labels_HW[:-1]] = 0
    if same.all():
        return np.full(labels_HW.shape, float(labels_HW.shape[0]), np.float32)
    return cv2.distanceTransform(same, cv2.DIST_L2, 3)
