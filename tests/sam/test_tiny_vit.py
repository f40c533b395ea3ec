"""Our TinyViT is the published one, number by number, and deep prompts do what naive insertion does."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ptsam_auto.adapt.lora import add_encoder_lora
from ptsam_auto.adapt.prompts import new_encoder_prompts
from ptsam_auto.errors import BackboneError
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam import checkpoint, tiny_vit
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.network import from_state
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.sam.tensors import sam_tensors
from ptsam_auto.sam.tiles import frame
from ptsam_auto.sam.tiny_vit import TINY_VITS
from ptsam_auto.sam.tiny_vit_checkpoint import architecture_of, folded
from tests.sam.published import TOY_TINY, published_encoder, published_state
from tests.toys import sample

pytestmark = pytest.mark.slow  # a part of the whole suite; the edit-test loop stays under a minute


@pytest.fixture(scope="module")
def lite_medsam():
    try:
        return checkpoint.load("lite_medsam")
    except BackboneError as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def toy():
    return from_state(published_state(TOY_TINY)).image_encoder


def pictures(sam, count=2):
    """Images that are not square, so that some of the input is padding."""
    size = sam.image_encoder.img_size
    shown = [sample(seed).image for seed in range(count)]
    return torch.stack([to_input(sam, resize_image(one, *frame(*one.shape[:2], size)), size) for one in shown])


def test_lite_medsams_features_are_those_of_its_own_network(lite_medsam):
    state = sam_tensors(checkpoint.packaged_path("lite_medsam"))
    theirs = published_encoder(TINY_VITS["lite_medsam"])
    own = {name.removeprefix("image_encoder."): t for name, t in state.items() if name.startswith("image_encoder.")}
    theirs.load_state_dict(own)
    theirs.eval()  # Only here does it look its biases up.
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 5_726_740
    images = pictures(lite_medsam.sam)
    with torch.no_grad():
        ours, expected = encode(lite_medsam.sam.image_encoder, images), theirs(images)
    assert ours.shape == (2, 256, 64, 64)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_mobile_sams_features_are_those_of_its_own_network():
    """Random weights of its shape, at 1,024 px: the file itself cannot be had everywhere."""
    theirs = published_encoder(TINY_VITS["mobile_sam"])
    sam = from_state(published_state(TINY_VITS["mobile_sam"], classifier=True))
    assert sam.image_encoder.img_size == 1024
    images = pictures(sam)
    with torch.no_grad():
        ours, expected = encode(sam.image_encoder, images), theirs(images)
    assert ours.shape == (2, 256, 64, 64)
    assert (expected[0] - expected[1]).std() > 0.1, "random weights must not lose the image on the way"
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_sizes_are_read_off_the_tensors_rather_than_assumed(toy):
    assert architecture_of(published_state(TOY_TINY)) == TOY_TINY
    images = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        ours, expected = toy(images), published_encoder(TOY_TINY)(images)
    assert (expected[0] - expected[1]).std() > 0.1, "random weights must not lose the image on the way"
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", TINY_VITS)
def test_a_checkpoint_tells_its_architecture(name):
    assert architecture_of(published_state(TINY_VITS[name])) == TINY_VITS[name]


def test_how_much_is_computed_at_once_changes_nothing(toy, monkeypatch):
    images, prompts = torch.rand(1, 3, 256, 256), new_encoder_prompts(toy, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        monkeypatch.setattr(tiny_vit, "AT_ONCE", 2**15)
        piecewise = toy(images, prompts)
        monkeypatch.setattr(tiny_vit, "AT_ONCE", 2**30)
        torch.testing.assert_close(toy(images, prompts), piecewise, atol=1e-5, rtol=1e-5)


def naive(encoder, images, prompts_PV):
    """Insert each block's prompts as tokens of every window, attend with all of them, drop them."""
    x = encoder.stem[1](F.gelu(encoder.stem[0](images))).permute(0, 2, 3, 1)
    for convolutions in encoder.convolutions:
        x = convolutions(x)
    for block, prompts in zip(encoder.blocks, prompts_PV.split(encoder.architecture.block_widths, dim=-1), strict=True):
        x = x if block.merge is None else block.merge(x)
        attention, (B, h, w, D) = block.attn, x.shape
        n, count = attention.side, len(prompts)
        padded = F.pad(x, (0, 0, 0, -w % n, 0, -h % n))
        rows, columns = padded.shape[1] // n, padded.shape[2] // n
        windows = padded.reshape(B, rows, n, columns, n, D).transpose(2, 3).reshape(-1, n * n, D)
        tokens = attention.norm(torch.cat([prompts.expand(len(windows), -1, -1), windows], dim=1))
        q, k, v = attention.qkv(tokens).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + F.pad(attention.bias_HNN, (count, 0, count, 0))
        mixed = attention.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))[:, count:]
        mixed = mixed.reshape(B, rows, columns, n, n, D).transpose(2, 3).reshape(padded.shape)
        x = x + mixed[:, :h, :w]
        x = block.local(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + block.narrow(F.gelu(block.widen(block.norm(x))))
    return encoder.neck(x.permute(0, 3, 1, 2))


def test_cheap_prompts_equal_naive_insertion_in_values_and_gradients(toy):
    images = torch.rand(1, 3, 256, 256)
    cheap = torch.randn(3, sum(TOY_TINY.block_widths), requires_grad=True)
    inserted = cheap.detach().clone().requires_grad_()
    ours, theirs = encode(toy, images, cheap), naive(toy, images, inserted)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    weight = torch.randn_like(ours)
    (ours * weight).mean().backward()
    (theirs * weight).mean().backward()
    torch.testing.assert_close(cheap.grad, inserted.grad, atol=1e-6, rtol=1e-3)
    assert all((part.abs().amax(dim=1) > 0).all() for part in cheap.grad.split(TOY_TINY.block_widths, dim=-1))


def test_an_images_features_do_not_depend_on_its_batch(toy):
    images, prompts = torch.rand(3, 3, 256, 256), torch.randn(3, sum(TOY_TINY.block_widths))
    with torch.no_grad():
        together = encode(toy, images, prompts)
        alone = torch.cat([encode(toy, image[None], prompts) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_projection_has_queries_keys_and_values_where_lora_looks_for_them():
    """The published rows go by head: its query, its key, its value, then the next head's."""
    state = published_state(TOY_TINY)
    name = "layers.2.blocks.1.attn.qkv.weight"
    heads = state[f"image_encoder.{name}"].unflatten(0, (TOY_TINY.heads[1], 3, -1))
    ours = folded(state)["image_encoder.blocks.2.attn.qkv.weight"].chunk(3)
    for part in range(3):
        assert torch.equal(ours[part], heads[:, part].flatten(0, 1))


def test_a_fresh_lora_changes_nothing_and_a_trained_one_leaves_keys_alone(toy):
    images, tuned = torch.rand(1, 3, 256, 256), copy.deepcopy(toy)
    add_encoder_lora(tuned, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(tuned(images), toy(images))
        for block in tuned.blocks:
            block.attn.qkv.query.up.normal_()
            block.attn.qkv.value.up.normal_()
        assert not torch.allclose(tuned(images), toy(images), atol=1e-2)
        for block, frozen in zip(tuned.blocks, toy.blocks, strict=True):
            x = torch.randn(5, block.attn.proj.out_features)
            assert torch.equal(block.attn.qkv(x).chunk(3, -1)[1], frozen.attn.qkv(x).chunk(3, -1)[1])


def test_prompts_start_within_the_bound_of_each_blocks_width():
    encoder = from_state(published_state(TINY_VITS["lite_medsam"])).image_encoder
    prompts = new_encoder_prompts(encoder, 8, torch.Generator().manual_seed(0))
    assert prompts.shape == (8, 2 * 128 + 6 * 160 + 2 * 320)
    for part in prompts.split(encoder.architecture.block_widths, dim=-1):
        bound = (6 / (3 * 4**2 + part.shape[1])) ** 0.5
        assert 0.98 * bound < part.abs().max() <= bound


def test_lite_medsam_sees_each_image_from_its_darkest_to_its_brightest_value(lite_medsam):
    image = np.random.default_rng(0).integers(40, 120, (192, 256, 3), dtype=np.uint8)
    shown = to_input(lite_medsam.sam, image, 256)
    assert (shown[:, :192].min(), shown[:, :192].max()) == (0, 1)
    assert not shown[:, 192:].any()
    torch.testing.assert_close(to_input(lite_medsam.sam, image * 2, 256), shown)
    assert not to_input(lite_medsam.sam, np.full_like(image, 77), 256).any(), "an image of one colour"


def test_mobile_sam_sees_images_as_sam_does():
    sam = from_state(published_state(TINY_VITS["mobile_sam"]))
    image = np.random.default_rng(0).integers(0, 256, (640, 1024, 3), dtype=np.uint8)
    theirs = sam.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    torch.testing.assert_close(to_input(sam, image, 1024), theirs)
