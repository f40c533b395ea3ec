"""LoRA starts as nothing, reaches every query and value, and leaves the SAM it was built on alone."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ptsam_auto.adapt.lora import Update, UpdatedLinear, UpdatedQKV, add_decoder_lora, add_encoder_lora
from ptsam_auto.adapt.shared_weights import copy_sharing_weights
from ptsam_auto.methods.cellseg1 import CellSeg1Config, build
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.mask_decoder import decode
from tests.toys import toy_sam


def generator():
    return torch.Generator().manual_seed(0)


def test_an_update_is_the_product_of_its_two_matrices():
    layer = UpdatedLinear(nn.Linear(6, 4), 2, generator())
    layer.update.up.data.normal_()
    whole = layer.linear.weight + layer.update.up @ layer.update.down
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(layer(x), F.linear(x, whole, layer.linear.bias))


def test_of_the_encoders_projection_the_keys_are_left_alone():
    layer = UpdatedQKV(nn.Linear(6, 18), 2, generator())
    layer.query.up.data.normal_()
    layer.value.up.data.normal_()
    x = torch.randn(3, 5, 6)
    q, k, v = (layer(x) - layer.linear(x)).chunk(3, dim=-1)
    assert not k.any()
    torch.testing.assert_close(q, x @ (layer.query.up @ layer.query.down).T, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(v, x @ (layer.value.up @ layer.value.down).T, atol=1e-5, rtol=1e-4)


def test_it_starts_as_linear_layers_do():
    """Kaiming uniform with a = sqrt(5) is how torch draws a linear layer's weight."""
    down = Update(400, 3, 50, generator()).down
    torch.manual_seed(0)
    other = nn.Linear(400, 50).weight
    assert down.abs().max() <= 1 / math.sqrt(400)
    assert down.std().item() == pytest.approx(other.std().item(), rel=0.02)


def test_a_fresh_lora_changes_nothing():
    sam, images = toy_sam(), torch.randn(2, 3, 64, 64)
    model = build(sam, CellSeg1Config(encoder_rank=4), seed=0)
    features = model.encode(images)
    assert torch.equal(features, encode(sam.image_encoder, images))
    assert torch.equal(model.decode(features), decode(sam, features, None, 1))


def test_the_twin_shares_every_tensor_and_no_module():
    sam = toy_sam()
    twin = copy_sharing_weights(sam)
    assert all(a is b for a, b in zip(sam.parameters(), twin.parameters(), strict=True))
    assert all(a is b for a, b in zip(sam.buffers(), twin.buffers(), strict=True))
    assert not {id(module) for module in sam.modules()} & {id(module) for module in twin.modules()}


def test_the_sam_it_was_built_on_stays_as_it_was():
    sam = toy_sam()
    before, names = sam.mask_decoder, [name for name, _ in sam.named_modules()]
    build(sam, CellSeg1Config(encoder_rank=4), seed=0)
    assert sam.mask_decoder is before
    assert [name for name, _ in sam.named_modules()] == names
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_every_attention_is_reached():
    sam = toy_sam()
    add_encoder_lora(sam.image_encoder, 4, generator())
    add_decoder_lora(sam.mask_decoder, 4, generator())
    kinds = [type(module) for module in sam.modules()]
    assert kinds.count(UpdatedQKV) == 2, "a toy's encoder has two blocks"
    assert kinds.count(UpdatedLinear) == 2 * 7, "a decoder has two layers of three attentions, and a last one"
