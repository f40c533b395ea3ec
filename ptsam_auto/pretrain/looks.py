"""What looks alike in an image: questions that any picture answers about itself, labelled or not.

A specialist's prompts call out things by how they look. Clustering pixels by a few random filters makes endless such
things, each a little different from the last, so that the network learns to tell looks apart, not to know a list.
"""

# h w  an image's frame in px   F  filters

import cv2
import numpy as np

from ptsam_auto.pretrain.filters import FAINT, FILTERS, lab

Rng = np.random.Generator

SAMPLED = 1500  # pixels that the clusters' middles are found from
ROUNDS = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0.0)
SMOOTHED = 5  # px, the median that takes specks out of a cluster


def alike(rng: Rng, image_hw3: np.ndarray) -> np.ndarray | None:
    """Pixels of one look, h w bool: a cluster in what one to four random filters see; None where they see nothing.

    Args:
        rng: chooses filters, their weights, the number of clusters and one of them.
        image_hw3: uint8, RGB.
    """
    lab_hw3 = lab(image_hw3)
    names = rng.choice(list(FILTERS), int(rng.integers(1, 5)), replace=False)
    responses_Fhw = np.stack([FILTERS[str(name)](lab_hw3) for name in names])
    spread_F = responses_Fhw.std((1, 2))
    seen = spread_F >= FAINT
    if not seen.any():
        return None
    weights_F = rng.uniform(0.5, 1.5, seen.sum()) / spread_F[seen]
    pixels_NF = (responses_Fhw[seen] * weights_F[:, None, None]).reshape(len(weights_F), -1).T.astype(np.float32)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    sampled_NF = pixels_NF[rng.integers(len(pixels_NF), size=SAMPLED)]
    middles_KF = cv2.kmeans(sampled_NF, int(rng.integers(2, 6)), None, ROUNDS, 1, cv2.KMEANS_PP_CENTERS)[2]
    nearest_N = np.stack([((pixels_NF - middle) ** 2).sum(1) for middle in middles_KF]).argmin(0)
    cluster = nearest_N == rng.integers(len(middles_KF))
    return cv2.medianBlur(cluster.reshape(image_hw3.shape[:2]).astype(np.uint8), SMOOTHED) > 0
