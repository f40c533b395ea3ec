"""Our batched encoder is SAM's own, and deep prompts do what naive insertion does."""

import pytest
import torch

from benchmarks.plain import inserted
from ptsam_auto.sam import checkpoint, precision
from ptsam_auto.sam.image_encoder import encode, encode_frozen, encode_tuned
from ptsam_auto.sam.tiny_vit import TinyVit
from tests.sam.published import TOY_TINY
from tests.toys import toy_sam


@pytest.fixture
def encoder():
    return toy_sam().image_encoder


def test_without_prompts_it_is_sams_own_encoder(encoder):
    images = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(encode(encoder, images), encoder(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["nano", "lite_medsam"])
def test_a_frozen_encoder_is_nearly_the_same_on_a_cpu_that_multiplies_bfloat16(name, monkeypatch):
    """PyTorch has bfloat16 on every CPU, so this holds everywhere; it is slower where the hardware does not have it."""
    encoder = checkpoint.load(name).sam.image_encoder
    images = torch.rand(1, 3, encoder.img_size, encoder.img_size)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind: False)
    exact = encode_frozen(encoder, images)
    torch.testing.assert_close(exact, encode(encoder, images), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind: True)
    rounded = encode_frozen(encoder, images)
    assert (rounded.dtype, rounded.requires_grad) == (torch.float32, False)
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.1


@pytest.mark.parametrize("name", ["nano", "lite_medsam"])
def test_gradients_in_lower_precision_point_where_the_exact_ones_do(name, monkeypatch):
    encoder = checkpoint.load(name).sam.image_encoder
    torch.manual_seed(0)
    images = torch.rand(1, 3, encoder.img_size, encoder.img_size)
    shape = (8, 8, 192) if name == "nano" else (8, sum(encoder.architecture.block_widths))
    prompts = (0.1 * torch.randn(shape)).requires_grad_()
    gradients = []
    for is_faster in (False, True):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind, is_faster=is_faster: is_faster)
        prompts.grad = None
        features = encode_tuned(encoder, images, prompts)
        assert features.dtype == torch.float32
        features.square().mean().backward()
        gradients.append(prompts.grad.flatten())
    assert 0.98 < torch.cosine_similarity(*gradients, dim=0) < 1
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 0.2


def test_cheap_prompts_equal_naive_insertion_in_values_and_gradients(encoder):
    images = torch.randn(2, 3, 64, 64)
    cheap = torch.randn(2, 3, 24, requires_grad=True)
    plain = cheap.detach().clone().requires_grad_()
    ours, theirs = encode(encoder, images, cheap), inserted(encoder, images, plain)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(cheap.grad, plain.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["sam", "tiny_vit"])
def test_a_step_that_computes_its_blocks_again_keeps_less_and_has_the_same_gradients(kind):
    encoder = toy_sam().image_encoder if kind == "sam" else TinyVit(TOY_TINY, 256)
    shape = (2, 3, 24) if kind == "sam" else (3, sum(TOY_TINY.block_widths))
    torch.manual_seed(0)
    images = torch.randn(2, 3, encoder.img_size, encoder.img_size)
    prompts, kept, gradients = torch.randn(shape, requires_grad=True), [], []
    for checkpointing in (False, True):
        sizes = []

        def keep(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            features = encode_tuned(encoder, images, prompts, checkpointing)
        features.square().mean().backward()
        kept.append(sum(sizes))
        gradients.append(prompts.grad)
        prompts.grad = None
    assert kept[1] < kept[0]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-7, rtol=1e-5)


def test_gradients_reach_the_prompts_of_every_layer(encoder):
    prompts = torch.randn(2, 3, 24, requires_grad=True)
    encode(encoder, torch.randn(1, 3, 64, 64), prompts).square().sum().backward()
    assert (prompts.grad.abs().amax(dim=(1, 2)) > 0).all()


def test_an_images_features_do_not_depend_on_its_batch(encoder):
    images, prompts = torch.randn(3, 3, 64, 64), torch.randn(2, 3, 24)
    together = encode(encoder, images, prompts)
    alone = torch.cat([encode(encoder, image[None], prompts) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_full_precision_is_exact_on_a_cpu_that_multiplies_bfloat16(monkeypatch):
    """The comparison of an export with PyTorch once measured PyTorch's bfloat16 instead of the export."""
    monkeypatch.setattr(precision, "LEAST_WEIGHTS", 0)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda kind: True)
    encoder, images = toy_sam().image_encoder, torch.rand(1, 3, 64, 64)
    with precision.full_precision():
        exact = encode_frozen(encoder, images)
    with torch.no_grad():
        assert torch.equal(exact, encode(encoder, images))
    assert not torch.equal(exact, encode_frozen(encoder, images))
