"""The loss is the paper's, and padding has no part in it."""

import pytest
import torch

from ptsam_auto.training.loss import segmentation_loss


def test_weights_and_parts():
    logits, target, inside = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 0], [0, 0]]]), torch.ones(1, 2, 2)
    loss = segmentation_loss(logits, target, inside, 0.2)
    assert loss.cross_entropy.item() == pytest.approx(0.6931, abs=1e-4)
    assert loss.dice.item() == pytest.approx(1 - (2 * 0.5 + 1) / (4 * 0.25 + 1 + 1))
    assert loss.total.item() == pytest.approx(0.2 * loss.cross_entropy.item() + 0.8 * loss.dice.item())


def test_a_perfect_mask_costs_nothing():
    target = (torch.rand(2, 8, 8) > 0.5).float()
    assert segmentation_loss(40 * target - 20, target, torch.ones_like(target), 0.2).total.item() < 1e-3


def test_padding_has_no_part_in_it():
    logits, target = torch.randn(1, 4, 4), (torch.rand(1, 4, 4) > 0.5).float()
    inside = torch.ones(1, 4, 4)
    inside[:, 2:] = 0
    changed = logits.clone()
    changed[:, 2:] = 7
    ours = segmentation_loss(logits, target, inside, 0.2).total
    torch.testing.assert_close(segmentation_loss(changed, target, inside, 0.2).total, ours)
    torch.testing.assert_close(segmentation_loss(logits[:, :2], target[:, :2], inside[:, :2], 0.2).total, ours)
