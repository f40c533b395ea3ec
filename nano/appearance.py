"""Clusters of pixels with a similar appearance, a training task for any image with or without labels.

A specialist's prompts separate areas by their appearance. Clusters of pixels by a few random filters give an unlimited
number of such areas, so that the network learns to compare appearances rather than to recognise a list of objects.
"""

# h w  size of a scaled image in px   N pixels   K clusters   F filters

import cv2
import numpy as np

from nano.filters import FILTERS, MIN_SPREAD, to_lab
from ptsam_auto.data.random_fields import Rng

SAMPLED_PIXELS = 1500  # number of pixels from which the cluster centres are computed
STOPPING = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0.0)
MEDIAN = 5  # px, width of the median filter that removes single pixels from a cluster


def appearance_cluster(rng: Rng, image_hw3: np.ndarray) -> np.ndarray | None:
    """Return pixels of similar appearance: one cluster in the responses of one to four random filters.

    Args:
        rng: Random generator that selects the filters, their weights, the number of clusters and the cluster.
        image_hw3: Image, uint8, RGB.

    Returns:
        Mask of the cluster, h w bool, or None if no selected filter responds.
    """
    lab_hw3 = to_lab(image_hw3)
    names = rng.choice(list(FILTERS), int(rng.integers(1, 5)), replace=False)
    responses_Fhw = np.stack([FILTERS[str(name)](lab_hw3) for name in names])
    spread_F = responses_Fhw.std((1, 2))
    responds = spread_F >= MIN_SPREAD
    if not responds.any():
        return None
    weights_F = rng.uniform(0.5, 1.5, responds.sum()) / spread_F[responds]
    pixels_NF = (responses_Fhw[responds] * weights_F[:, None, None]).reshape(len(weights_F), -1).T.astype(np.float32)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    sampled_NF = pixels_NF[rng.integers(len(pixels_NF), size=SAMPLED_PIXELS)]
    centres_KF = cv2.kmeans(sampled_NF, int(rng.integers(2, 6)), None, STOPPING, 1, cv2.KMEANS_PP_CENTERS)[2]
    nearest_N = np.stack([((pixels_NF - centre) ** 2).sum(1) for centre in centres_KF]).argmin(0)
    cluster_N = nearest_N == rng.integers(len(centres_KF))
    return cv2.medianBlur(cluster_N.reshape(image_hw3.shape[:2]).astype(np.uint8), MEDIAN) > 0
