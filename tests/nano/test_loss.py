import pytest
import torch

from nano.auxiliary import AuxiliaryHeads, details
from nano.batches import Prompts, StepBatches, vocabulary
from nano.loss import batch_loss, embed_points, mask_loss, masks_iou, predict_masks
from ptsam_auto.sam.image_encoder import encode
from tests.nano.scenery import TwoScenes
from tests.toys import toy_sam


def prompts_of(points, roles, image=(0,)):
    points = torch.tensor(points, dtype=torch.float32)
    targets = torch.zeros(len(points), 32, 32, dtype=torch.bool)
    return Prompts(torch.tensor(image), points, torch.tensor(roles), torch.full((len(points),), -1), targets)


def test_clicks_give_the_masks_of_segment_anything():
    sam = toy_sam()
    images = torch.randn(2, 3, 64, 64)
    features = encode(sam.image_encoder, images)
    prompts = prompts_of([[[10.5, 20.5], [0, 0]], [[40.5, 7.5], [0, 0]]], [[1, -1], [0, -1]], image=(1, 0))
    embedded = embed_points(sam.prompt_encoder, prompts.points, prompts.roles)
    ours, quality = predict_masks(sam, features[prompts.image], embedded, slice(0, 4))
    for row, (image, click, role) in enumerate([(1, (10, 20), 1), (0, (40, 7), 0)]):
        sparse, dense = sam.prompt_encoder((torch.tensor([[click]]), torch.tensor([[role]])), None, None)
        masks, expected = sam.mask_decoder.predict_masks(
            features[image : image + 1], sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        masks = torch.nn.functional.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours[row], masks[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(quality[row], expected[0], rtol=1e-4, atol=1e-4)


def test_box_corners_are_embedded_as_in_segment_anything():
    sam = toy_sam()
    box = torch.tensor([[5.0, 6.0, 30.0, 40.0]])
    expected, _ = sam.prompt_encoder(None, box, None)
    ours = embed_points(sam.prompt_encoder, box.reshape(1, 2, 2) + 0.5, torch.tensor([[2, 3]]))
    torch.testing.assert_close(ours, expected)


def test_loss_and_iou_tell_right_masks_from_wrong_ones_and_ignore_padding():
    targets = torch.zeros(1, 8, 8, dtype=torch.bool)
    targets[:, 2:5, 2:5] = True
    inside = torch.ones(1, 8, 8, dtype=torch.bool)
    inside[:, 6:] = False
    right = (targets.float() * 2 - 1).unsqueeze(1) * 20
    padded = right.clone()
    padded[:, :, 6:] = 20
    wrong = -right
    logits = torch.cat([right, padded, wrong], 1)
    for balance in (0.0, 0.5, 1.0):
        loss = mask_loss(logits, targets, inside, balance)[0]
        assert loss[0] < 1e-3
        assert loss[1] == pytest.approx(float(loss[0]))
        assert loss[2] > 5
    assert masks_iou(logits > 0, targets, inside)[0].tolist() == [1.0, 1.0, 0.0]


def test_balance_makes_a_missed_small_object_expensive():
    targets = torch.zeros(1, 32, 32, dtype=torch.bool)
    targets[:, :2, :2] = True
    inside = torch.ones_like(targets)
    empty = torch.full((1, 1, 32, 32), -5.0)
    assert mask_loss(empty, targets, inside, 1.0) > 2 * mask_loss(empty, targets, inside, 0.0)


def test_one_step_has_a_gradient_for_every_part():
    sam = toy_sam().requires_grad_(True)
    batch = StepBatches(TwoScenes(), 0, 2, 64)[0]
    auxiliary = AuxiliaryHeads(len(vocabulary(TwoScenes())))
    loss = batch_loss(sam, auxiliary, batch, 0.5, detail_weight=0.5)
    loss.loss.backward()
    concepts = batch.prompts["concept"].concepts.unique()
    assert auxiliary.detail_head.weight.grad.abs().sum() > 0
    assert set(auxiliary.concept_prompts_VPD.grad.abs().sum((1, 2)).nonzero().flatten().tolist()) == set(
        concepts.tolist()
    )
    assert set(loss.iou) == set(batch.prompts)
    assert all(0 <= iou <= 1 for iou in loss.iou.values())
    for name in (
        "image_encoder.patch_embed",
        "image_encoder.blocks.1",
        "prompt_encoder.point",
        "mask_decoder.iou_pred",
    ):
        gradients = [p.grad for key, p in sam.named_parameters() if key.startswith(name)]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), name


def test_detail_error_is_1_for_empty_features_and_0_for_features_that_hold_the_detail():
    auxiliary = AuxiliaryHeads(1)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(2, 32, 32, dtype=torch.bool)
    inside[1, 16:] = False
    images[1, :, 32:] = 0
    empty = auxiliary.detail_error(images, torch.zeros(2, 256, 4, 4), inside)
    assert empty.item() == pytest.approx(1.0, abs=0.02), "features without information"
    wanted = details(images, torch.nn.functional.avg_pool2d(inside[:, None].float(), 2))
    assert wanted[1, :, 8:].abs().sum() == 0
    features = torch.zeros(2, 256, 4, 4)
    features[:, :64] = torch.nn.functional.pixel_unshuffle(wanted, 4)
    with torch.no_grad():
        auxiliary.detail_head.weight[:] = torch.eye(64, 256)[..., None, None]
    assert auxiliary.detail_error(images, features, inside).item() < 1e-6, "features that hold all detail"


def test_a_faint_image_has_as_much_detail_as_a_strong_one():
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 1, 16, 16)
    faint, strong = details(0.3 * images, everywhere), details(images, everywhere)
    torch.testing.assert_close(faint, strong)
    flat = details(torch.full((1, 3, 64, 64), 0.7), everywhere)
    assert flat.abs().max() < 1e-3
