"""Images of any shape reach the network as SAM wants them, and masks come back in place."""

import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide

from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.preprocess import to_input, to_original
from ptsam_auto.sam.tiles import frame
from tests.toys import toy_sam


@pytest.mark.parametrize(("height", "width"), [(100, 50), (33, 64), (64, 64), (500, 900)])
def test_the_frame_is_sams(height, width):
    assert (
        frame(height, width, 64) == ResizeLongestSide(64).apply_image(np.zeros((height, width, 3), np.uint8)).shape[:2]
    )


def test_the_input_is_what_sams_own_preprocessing_makes():
    sam = toy_sam()
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    theirs = sam.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    torch.testing.assert_close(to_input(sam, image, 64), theirs)


@pytest.mark.parametrize("shrinks", [4, 1], ids=["SAM", "LiteMedSAM"])
@pytest.mark.parametrize(("height", "width"), [(96, 60), (60, 96), (21, 30)])
def test_a_mask_comes_back_where_the_object_is(height, width, shrinks):
    """Resize, pad, read off at the decoder's resolution, and return: the object must not move."""
    truth = np.zeros((height, width), bool)
    truth[height // 4 : height // 2, width // 2 :] = True
    inside = frame(height, width, 64)
    grey = resize_image(np.repeat(truth[..., None], 3, axis=2).astype(np.uint8) * 255, *inside)[..., 0] / 127.5 - 1
    square = torch.full((64, 64), -1.0)
    square[: inside[0], : inside[1]] = torch.from_numpy(grey)
    logits = torch.nn.functional.avg_pool2d(square[None], shrinks)[0]
    back = (to_original(logits, inside, (height, width), 64) > 0).numpy()
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.9
