"""PTSAM trains exactly the paper's numbers, and nothing else."""

import pytest
import torch

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.ptsam import PTSAMConfig, begin_at, build
from ptsam_auto.sam.network import ARCHITECTURES
from ptsam_auto.sam.network import build as build_network
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from tests.toys import sampler, toy_sam


@pytest.mark.parametrize(("backbone", "encoder_prompts", "numbers"), [
    ("vit_b", 0, 2_048),
    ("vit_b", 8, 75_776),
    ("nano", 0, 2_048),
])  # fmt: skip
def test_trainable_numbers_are_those_of_table_1(backbone, encoder_prompts, numbers):
    with torch.device("meta"):
        sam = build_network(ARCHITECTURES[backbone])
    model = build(sam, PTSAMConfig(encoder_prompts=encoder_prompts), seed=0)
    assert sum(parameter.numel() for parameter in model.trainable().values()) == numbers


@pytest.mark.parametrize("encoder_prompts", [0, 4])
def test_after_training_every_frozen_tensor_is_bit_identical(encoder_prompts):
    sam = toy_sam()
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    model = build(sam, PTSAMConfig(encoder_prompts=encoder_prompts), seed=0)
    fresh = {name: tensor.detach().clone() for name, tensor in model.trainable().items()}
    recipe = Recipe(epochs=1, steps_per_epoch=2)
    list(epochs(start(model, recipe), FreshViews(model, sampler(3)), recipe))
    assert all(torch.equal(tensor, before[name]) for name, tensor in sam.state_dict().items())
    for name, tensor in model.trainable().items():
        assert not torch.equal(tensor, fresh[name]), f"{name} did not train"


def test_gradients_reach_the_prompts_of_all_layers_and_of_the_decoder():
    model = build(toy_sam(), PTSAMConfig(encoder_prompts=3), seed=0)
    model.decode(model.encode(torch.randn(1, 3, 64, 64))).square().sum().backward()
    assert (model.encoder_prompts.grad.abs().amax(dim=(1, 2)) > 0).all()
    assert (model.decoder_prompts.grad.abs().amax(dim=1) > 0).all()


def test_a_seed_means_the_same_prompts():
    one, same, other = (build(toy_sam(), PTSAMConfig(encoder_prompts=2), seed) for seed in (1, 1, 2))
    assert torch.equal(one.encoder_prompts, same.encoder_prompts)
    assert torch.equal(one.decoder_prompts, same.decoder_prompts)
    assert not torch.equal(one.decoder_prompts, other.decoder_prompts)


@pytest.mark.parametrize(("decoder", "encoder", "classes"), [(8, 8, 1), (3, 2, 1), (10, 9, 1), (8, 8, 2)])
def test_learned_prompts_are_the_first_ones_of_every_class_and_further_ones_stay_random(decoder, encoder, classes):
    config = PTSAMConfig(decoder_prompts=decoder, encoder_prompts=encoder)
    random, model = (build(toy_sam(), config, 0, classes) for _ in range(2))
    learned = {"decoder_prompts": torch.rand(8, 256), "encoder_prompts": torch.rand(2, 8, 24)}
    begin_at(model, learned)
    for name, values in learned.items():
        found, before = getattr(model, name), getattr(random, name)
        count = min(found.shape[-2], 8)
        assert torch.equal(found[..., :count, :], values[..., :count, :].expand_as(found[..., :count, :]))
        assert torch.equal(found[..., count:, :], before[..., count:, :])
        assert found.requires_grad


def test_only_a_frozen_encoder_counts_as_frozen():
    assert build(toy_sam(), PTSAMConfig(), 0).encoder_is_frozen
    assert not build(toy_sam(), PTSAMConfig(encoder_prompts=1), 0).encoder_is_frozen


@pytest.mark.parametrize(("wrong", "message"), [
    ({"decoder_prompts": 0}, "method.decoder_prompts is 0; expected 1 to 1000."),
    ({"encoder_prompts": -1}, "method.encoder_prompts is -1; expected 0 (frozen) to 1000."),
    ({"mask_token": 4}, "method.mask_token is 4; SAM has four masks, 0 to 3."),
    ({"tiles": 0}, "method.tiles is 0; expected at least 1."),
    ({"prompt_std": 0}, "method.prompt_std is 0; expected a number above 0."),
    ({"initial_prompts": "zero"}, 'method.initial_prompts is "zero"; expected "random" or "scenes".'),
    (
        {"initial_prompts": "scenes"},
        'method.initial_prompts is "scenes", but method.encoder_prompts is 0; the prompts of the decoder were learned '
        "with those of the encoder. Expected at least 1 encoder prompt.",
    ),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        PTSAMConfig(**wrong)
    assert str(error.value) == message
