"""Our networks are the package's own; checkpoints say themselves what they are."""

import pytest
import torch
from safetensors import safe_open
from segment_anything import sam_model_registry

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.network import ARCHITECTURES, Architecture, architecture_of, build, from_state, resized
from tests.toys import TOY, toy_sam


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_official_networks_have_the_packages_tensors(name):
    with torch.device("meta"):
        ours, theirs = build(ARCHITECTURES[name]).state_dict(), sam_model_registry[name]().state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in theirs.items()}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES.values(), TOY])
def test_a_checkpoint_tells_its_architecture(architecture: Architecture):
    with torch.device("meta"):
        state = build(architecture).state_dict()
    assert architecture_of(state) == architecture


def test_a_checkpoint_loads_frozen_with_the_same_output():
    sam = toy_sam()
    loaded = from_state({name: tensor.half().float() for name, tensor in sam.state_dict().items()})
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded.image_encoder(images), sam.image_encoder(images), atol=2e-2, rtol=2e-2)


def test_resizing_keeps_what_the_network_sees():
    """A constant image looks the same at twice the size, up to borders and interpolation."""
    state = toy_sam().state_dict()
    state["image_encoder.pos_embed"] = torch.zeros_like(state["image_encoder.pos_embed"])
    larger = from_state(resized(state, 128))
    assert larger.image_encoder.img_size == 128
    small = encode(from_state(state).image_encoder, torch.ones(1, 3, 64, 64))
    large = encode(larger.image_encoder, torch.ones(1, 3, 128, 128))
    assert large.shape == (1, 256, 8, 8)
    alike = torch.cosine_similarity(large.mean(dim=(2, 3)), small.mean(dim=(2, 3)))
    assert alike > 0.95


def test_nano_is_small_half_precision_and_what_it_should_be():
    path = checkpoint.nano_path()
    assert path.stat().st_size < 20e6
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert architecture_of(tensors) == ARCHITECTURES["nano"]
