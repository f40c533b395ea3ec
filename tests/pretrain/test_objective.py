import pytest
import torch

from ptsam_auto.pretrain.batches import Questions, Steps, vocabulary
from ptsam_auto.pretrain.beside import Beside, details
from ptsam_auto.pretrain.objective import answer, embed, judge, mask_loss, overlap
from ptsam_auto.sam.encode import encode
from tests.pretrain.scenery import TwoScenes
from tests.toys import toy_sam


def questions_of(points, roles, image=(0,)):
    points = torch.tensor(points, dtype=torch.float32)
    answers = torch.zeros(len(points), 32, 32, dtype=torch.bool)
    return Questions(torch.tensor(image), points, torch.tensor(roles), torch.full((len(points),), -1), answers)


def test_clicks_are_answered_as_the_package_answers_them():
    sam = toy_sam()
    images = torch.randn(2, 3, 64, 64)
    features = encode(sam.image_encoder, images)
    asked = questions_of([[[10.5, 20.5], [0, 0]], [[40.5, 7.5], [0, 0]]], [[1, -1], [0, -1]], image=(1, 0))
    prompts = embed(sam.prompt_encoder, asked.points, asked.roles)
    ours, quality = answer(sam, features[asked.image], prompts, slice(0, 4))
    for row, (image, click, role) in enumerate([(1, (10, 20), 1), (0, (40, 7), 0)]):
        sparse, dense = sam.prompt_encoder((torch.tensor([[click]]), torch.tensor([[role]])), None, None)
        masks, expected = sam.mask_decoder.predict_masks(
            features[image : image + 1], sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        masks = torch.nn.functional.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours[row], masks[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(quality[row], expected[0], rtol=1e-4, atol=1e-4)


def test_box_corners_are_embedded_as_the_package_embeds_them():
    sam = toy_sam()
    box = torch.tensor([[5.0, 6.0, 30.0, 40.0]])
    expected, _ = sam.prompt_encoder(None, box, None)
    ours = embed(sam.prompt_encoder, box.reshape(1, 2, 2) + 0.5, torch.tensor([[2, 3]]))
    torch.testing.assert_close(ours, expected)


def test_loss_and_overlap_know_right_from_wrong_and_ignore_padding():
    answers = torch.zeros(1, 8, 8, dtype=torch.bool)
    answers[:, 2:5, 2:5] = True
    inside = torch.ones(1, 8, 8, dtype=torch.bool)
    inside[:, 6:] = False
    right = (answers.float() * 2 - 1).unsqueeze(1) * 20
    padded = right.clone()
    padded[:, :, 6:] = 20
    wrong = -right
    logits = torch.cat([right, padded, wrong], 1)
    for balance in (0.0, 0.5, 1.0):
        loss = mask_loss(logits, answers, inside, balance)[0]
        assert loss[0] < 1e-3
        assert loss[1] == pytest.approx(float(loss[0]))
        assert loss[2] > 5
    assert overlap(logits > 0, answers, inside)[0].tolist() == [1.0, 1.0, 0.0]


def test_balance_makes_a_missed_small_object_expensive():
    answers = torch.zeros(1, 32, 32, dtype=torch.bool)
    answers[:, :2, :2] = True
    inside = torch.ones_like(answers)
    nothing = torch.full((1, 1, 32, 32), -5.0)
    assert mask_loss(nothing, answers, inside, 1.0) > 2 * mask_loss(nothing, answers, inside, 0.0)


def test_one_step_reaches_every_part():
    sam = toy_sam().requires_grad_(True)
    batch = Steps(TwoScenes(), 0, 2, 64)[0]
    beside = Beside(len(vocabulary(TwoScenes())))
    judged = judge(sam, beside, batch, 0.5, detail=0.5)
    judged.loss.backward()
    meant = batch.questions["concept"].concepts.unique()
    assert beside.eye.weight.grad.abs().sum() > 0
    assert set(beside.concepts_VPD.grad.abs().sum((1, 2)).nonzero().flatten().tolist()) == set(meant.tolist())
    assert set(judged.iou) == set(batch.questions)
    assert all(0 <= iou <= 1 for iou in judged.iou.values())
    for name in (
        "image_encoder.patch_embed",
        "image_encoder.blocks.1",
        "prompt_encoder.point",
        "mask_decoder.iou_pred",
    ):
        gradients = [p.grad for key, p in sam.named_parameters() if key.startswith(name)]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), name


def test_detail_is_what_is_finer_than_a_feature():
    beside = Beside(1)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(2, 32, 32, dtype=torch.bool)
    inside[1, 16:] = False
    images[1, :, 32:] = 0
    nothing = beside.detail_error(images, torch.zeros(2, 256, 4, 4), inside)
    assert nothing.item() == pytest.approx(1.0, abs=0.02), "an eye that sees nothing has lost all"
    wanted = details(images, torch.nn.functional.avg_pool2d(inside[:, None].float(), 2))
    assert wanted[1, :, 8:].abs().sum() == 0
    features = torch.zeros(2, 256, 4, 4)
    features[:, :64] = torch.nn.functional.pixel_unshuffle(wanted, 4)
    with torch.no_grad():
        beside.eye.weight[:] = torch.eye(64, 256)[..., None, None]
    assert beside.detail_error(images, features, inside).item() < 1e-6, "features that carry it all"


def test_a_faint_image_has_as_much_detail_as_a_strong_one():
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 1, 16, 16)
    faint, strong = details(0.3 * images, everywhere), details(images, everywhere)
    torch.testing.assert_close(faint, strong)
    flat = details(torch.full((1, 3, 64, 64), 0.7), everywhere)
    assert flat.abs().max() < 1e-3
