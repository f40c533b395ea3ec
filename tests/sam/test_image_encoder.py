"""Our batched encoder is SAM's own, and deep prompts do what naive insertion does."""

import pytest
import torch
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos, window_partition, window_unpartition

from ptsam_auto.sam import checkpoint, image_encoder
from ptsam_auto.sam.image_encoder import encode, encode_frozen
from tests.toys import toy_sam


@pytest.fixture
def encoder():
    return toy_sam().image_encoder


def naive(encoder, images, prompts_LPD):
    """Insert the prompts as tokens, attend with all of them, drop them: VPT-deep in windows, written out."""
    x = encoder.patch_embed(images) + encoder.pos_embed
    for block, prompts in zip(encoder.blocks, prompts_LPD, strict=True):
        count, side = len(prompts), block.window_size or x.shape[1]
        windows, padded = window_partition(x, side)
        n = windows.shape[1]
        tokens = torch.cat([prompts.expand(len(windows), -1, -1), windows.flatten(1, 2)], dim=1)
        # SAM pads windows after its normalisation, so the padding is zero there.
        inside = window_partition(torch.ones_like(x[..., :1]), side)[0].flatten(1, 2)
        inside = torch.cat([torch.ones(len(windows), count, 1), inside], dim=1)
        normed = block.norm1(tokens) * inside
        attention = block.attn
        qkv = attention.qkv(normed).reshape(len(windows), count + n * n, 3, attention.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
        scores = (q * attention.scale) @ k.transpose(1, 2)
        zero = torch.zeros(len(q), n * n, n * n)
        bias = add_decomposed_rel_pos(zero, q[:, count:], attention.rel_pos_h, attention.rel_pos_w, (n, n), (n, n))
        scores = scores + torch.nn.functional.pad(bias, (count, 0, count, 0))
        mixed = (scores.softmax(-1) @ v).unflatten(0, (len(windows), -1)).transpose(1, 2).flatten(2)
        tokens = tokens + attention.proj(mixed)
        tokens = tokens + block.mlp(block.norm2(tokens))
        x = window_unpartition(tokens[:, count:].unflatten(1, (n, n)), side, padded, x.shape[1:3])
    return encoder.neck(x.permute(0, 3, 1, 2))


def test_without_prompts_it_is_sams_own_encoder(encoder):
    images = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(encode(encoder, images), encoder(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["nano", "lite_medsam"])
def test_a_frozen_encoder_is_nearly_the_same_on_a_cpu_that_multiplies_bfloat16(name, monkeypatch):
    """PyTorch has bfloat16 on every CPU, so this holds everywhere; it is slower where the hardware does not have it."""
    encoder = checkpoint.load(name).sam.image_encoder
    images = torch.rand(1, 3, encoder.img_size, encoder.img_size)
    monkeypatch.setattr(image_encoder, "multiplies_bfloat16", lambda: False)
    exact = encode_frozen(encoder, images)
    torch.testing.assert_close(exact, encode(encoder, images), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(image_encoder, "multiplies_bfloat16", lambda: True)
    rounded = encode_frozen(encoder, images)
    assert (rounded.dtype, rounded.requires_grad) == (torch.float32, False)
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.1


def test_cheap_prompts_equal_naive_insertion_in_values_and_gradients(encoder):
    images = torch.randn(2, 3, 64, 64)
    cheap = torch.randn(2, 3, 24, requires_grad=True)
    inserted = cheap.detach().clone().requires_grad_()
    ours, theirs = encode(encoder, images, cheap), naive(encoder, images, inserted)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(cheap.grad, inserted.grad, atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_prompts_of_every_layer(encoder):
    prompts = torch.randn(2, 3, 24, requires_grad=True)
    encode(encoder, torch.randn(1, 3, 64, 64), prompts).square().sum().backward()
    assert (prompts.grad.abs().amax(dim=(1, 2)) > 0).all()


def test_an_images_features_do_not_depend_on_its_batch(encoder):
    images, prompts = torch.randn(3, 3, 64, 64), torch.randn(2, 3, 24)
    together = encode(encoder, images, prompts)
    alone = torch.cat([encode(encoder, image[None], prompts) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
