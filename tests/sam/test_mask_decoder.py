"""Our batched decoder is SAM's own; learned prompts stand where the embeddings of clicks would."""

import pytest
import torch

from ptsam_auto.sam.mask_decoder import decode
from tests.toys import toy_sam


@pytest.fixture
def sam():
    return toy_sam()


def sams_own(sam, features, prompts):
    """Image by image through the package, the prompts as sparse embeddings."""
    _, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
    masks = [
        sam.mask_decoder.predict_masks(one[None], sam.prompt_encoder.get_dense_pe(), prompts[None], dense)[0][0]
        for one in features
    ]
    return torch.stack(masks, dim=1)  # 4 B h w


@pytest.mark.parametrize("mask_token", range(4))
@pytest.mark.parametrize("count", [0, 8])
def test_every_mask_equals_the_packages_own(sam, mask_token, count):
    features, prompts = torch.randn(3, 256, 4, 4), torch.randn(count, 256)
    ours = decode(sam, features, prompts if count else None, mask_token)
    torch.testing.assert_close(ours, sams_own(sam, features, prompts)[mask_token], atol=1e-5, rtol=1e-5)


def test_permuting_a_batch_permutes_its_masks(sam):
    features, prompts, order = torch.randn(4, 256, 4, 4), torch.randn(8, 256), torch.tensor([2, 0, 3, 1])
    masks = decode(sam, features, prompts, 1)
    torch.testing.assert_close(decode(sam, features[order], prompts, 1), masks[order], atol=1e-5, rtol=1e-5)


def test_each_item_of_a_batch_may_have_prompts_of_its_own(sam):
    features, prompts = torch.randn(3, 256, 4, 4), torch.randn(3, 8, 256)
    alone = [sams_own(sam, one[None], own)[1, 0] for one, own in zip(features, prompts, strict=True)]
    torch.testing.assert_close(decode(sam, features, prompts, 1), torch.stack(alone), atol=1e-5, rtol=1e-5)
