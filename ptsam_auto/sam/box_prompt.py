"""Finds the object in a box with SAM's own prompts, without anything learned; it is what a person paints masks with."""

# H W  size of the image, px  S  the network's input side, px

import math

import numpy as np
import torch
from scipy import ndimage

from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.image_encoder import encode_frozen
from ptsam_auto.sam.network import SamNetwork
from ptsam_auto.sam.preprocess import to_input, to_original

MARGIN = 0.1  # part of the sides of the box by which the object may reach beyond it
SMALL_HOLE = 0.1  # largest hole that is filled, as a part of the object

Box = tuple[float, float, float, float]  # left, top, right and bottom, px of the image


def mask_in_box(sam: SamNetwork, image_HW3: np.ndarray, box: Box, context: float) -> np.ndarray:
    """Return the mask of the object in a box, H W, bool.

    The network sees a square around the box, so that a small object is large for it.

    Args:
        sam: Frozen SAM.
        image_HW3: Image, uint8, RGB.
        box: Box inside the image, at least 1 px wide and high.
        context: Side of that square, in longer sides of the box, at least 1.
    """
    left, top, right, bottom = box
    size = sam.image_encoder.img_size
    half = context * max(right - left, bottom - top) / 2
    rows = _around((top + bottom) / 2, half, image_HW3.shape[0])
    columns = _around((left + right) / 2, half, image_HW3.shape[1])
    square = image_HW3[rows, columns]
    scale = size / max(square.shape[:2])
    inside = max(1, round(square.shape[0] * scale)), max(1, round(square.shape[1] * scale))
    corners = torch.tensor([[left - columns.start, top - rows.start, right - columns.start, bottom - rows.start]])
    with torch.no_grad():
        features = encode_frozen(sam.image_encoder, to_input(sam, resize_image(square, *inside), size)[None])
        device = features.device
        sparse, dense = sam.prompt_encoder(points=None, boxes=(corners * scale).to(device), masks=None)
        logits, _ = sam.mask_decoder(
            image_embeddings=features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        found = to_original(logits[0, 0], inside, square.shape[:2], size) > 0
    mask = np.zeros(image_HW3.shape[:2], bool)
    mask[rows, columns] = found.cpu().numpy()
    allowed = np.zeros_like(mask)
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    allowed[
        max(0, math.floor(top - down)) : math.ceil(bottom + down),
        max(0, math.floor(left - across)) : math.ceil(right + across),
    ] = True
    return _one_object(mask & allowed)


def _one_object(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask, without its small holes; a network at its limits leaves crumbs."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    whole = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    holes, _ = ndimage.label(ndimage.binary_fill_holes(whole) & ~whole)
    areas = np.bincount(holes.ravel())
    areas[0] = 0
    return whole | ((areas > 0) & (areas <= SMALL_HOLE * whole.sum()))[holes]


def _around(centre: float, half: float, length: int) -> slice:
    """Return the pixels within a distance of a place on an axis."""
    return slice(max(0, math.floor(centre - half)), min(length, math.ceil(centre + half)))
