"""Every method of the paper's Table 1 trains exactly its numbers, nothing else, and through the same doors."""

import numpy as np
import pytest
import torch

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.autosam import BACKGROUND, FOREGROUND, AutoSAMConfig
from ptsam_auto.methods.cellseg1 import CellSeg1Config
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.network import ARCHITECTURES
from ptsam_auto.sam.network import build as build_network
from ptsam_auto.specialist.artifact import Specialist, load_specialist, save
from ptsam_auto.training import resume
from ptsam_auto.training.bank import FeatureBank
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from tests.specialist.records import member, record
from tests.toys import sample, sampler, toy_sam

TABLE_1 = {
    PTSAMConfig(): 2_048,
    PTSAMConfig(encoder_prompts=8): 75_776,
    CellSeg1Config(): 23_552,
    CellSeg1Config(encoder_rank=4): 171_008,
    AutoSAMConfig(): 3_645_344,
    SAMedConfig(): 4_212_016,
}
CONFIGS = [*TABLE_1, AutoSAMConfig(reading="sam", mask_token=0)]
RECIPE = Recipe(learning_rate=0.001, epochs=4, steps_per_epoch=2)

every_method = pytest.mark.parametrize("config", CONFIGS, ids=str)


def fresh(config, sam=None):
    model = sam_methods.build(sam or toy_sam(), config, seed=0)
    return start(model, RECIPE), FreshViews(model, sampler(3))


@pytest.mark.parametrize(("config", "numbers"), TABLE_1.items(), ids=str)
def test_trainable_numbers_are_those_of_table_1(config, numbers):
    with torch.device("meta"):
        sam = build_network(ARCHITECTURES["vit_b"])
    model = sam_methods.build(sam, config, seed=0)
    assert sum(parameter.numel() for parameter in model.trainable().values()) == numbers


@every_method
def test_the_sam_it_was_built_on_stays_bit_identical_and_untuned(config):
    sam, images = toy_sam(), torch.randn(1, 3, 64, 64)
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    masks = sam.image_encoder(images)
    training, views = fresh(config, sam)
    frozen = {
        name: tensor.clone()
        for name, tensor in training.model.state_dict().items()
        if name not in training.model.trainable()
    }
    next(epochs(training, views, RECIPE))
    after = training.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in sam.state_dict().items())
    assert torch.equal(sam.image_encoder(images), masks)


@every_method
def test_what_a_gradient_can_reach_is_trained(config):
    training, views = fresh(config)
    first = {name: tensor.detach().clone() for name, tensor in training.model.trainable().items()}
    list(epochs(training, views, RECIPE))
    still = {name for name, tensor in training.model.trainable().items() if torch.equal(tensor, first[name])}
    if not isinstance(config, SAMedConfig):
        assert not still
    else:
        parts = {".".join(name.split(".")[1:4]) for name in still}
        assert parts == {
            *(f"prompt_encoder.point_embeddings.{i}" for i in range(4)),
            *(f"prompt_encoder.mask_downscaling.{i}" for i in (0, 1, 3, 4, 6)),
            "prompt_encoder.not_a_point_embed.weight",
            *(f"mask_decoder.output_hypernetworks_mlps.{i}" for i in (0, 2, 3)),
            "mask_decoder.iou_prediction_head.layers",
        }


@every_method
def test_config_and_network_agree_on_whether_the_encoder_is_tuned(config):
    assert sam_methods.build(toy_sam(), config, seed=0).encoder_is_frozen == (not config.tunes_encoder)


@pytest.mark.parametrize("config", [config for config in CONFIGS if not config.tunes_encoder], ids=str)
def test_a_frozen_encoder_can_be_banked(config, tmp_path):
    training, fresh_views = fresh(config)
    recipe = Recipe(epochs=4, steps_per_epoch=2, views=100)
    bank = FeatureBank(tmp_path, training.model, "b" * 64, sampler(3), recipe)
    bank.prepare()
    ours, theirs = bank.draw(5), fresh_views.draw(5)
    torch.testing.assert_close(ours.features_B256GG, theirs.features_B256GG, atol=5e-3, rtol=5e-3)
    first = {name: tensor.detach().clone() for name, tensor in training.model.trainable().items()}
    list(epochs(training, bank, recipe))
    assert not any(torch.equal(tensor, first[name]) for name, tensor in training.model.trainable().items())


@pytest.mark.slow
@every_method
def test_a_run_resumed_from_disk_ends_with_the_same_numbers(config, tmp_path):
    undisturbed, views = fresh(config)
    whole = list(epochs(undisturbed, views, RECIPE))
    first, views = fresh(config)
    path, curve = tmp_path / "run.safetensors", []
    for report in epochs(first, views, RECIPE):
        curve.append(report)
        resume.save(path, first, curve, "key")
        if report.epoch == 2:
            break
    second, views = fresh(config)
    curve = resume.load(path, second, "key")
    assert (second.step, len(curve)) == (4, 2)
    curve += list(epochs(second, views, RECIPE))
    assert [report.loss for report in curve] == [report.loss for report in whole]
    for name, tensor in second.model.trainable().items():
        assert torch.equal(tensor, undisturbed.model.trainable()[name])


@every_method
def test_a_specialist_comes_back_as_it_went(config, toy, tmp_path):
    backbone = checkpoint.load(toy)
    training, views = fresh(config, backbone.sam)
    next(epochs(training, views, RECIPE))
    save(tmp_path, Specialist(Mixture([training.model], [1.0]), record(member(backbone, config))))
    image = sample(0).image
    assert np.array_equal(load_specialist(tmp_path).probability(image), training.model.probability(image))


def test_a_specialist_from_before_there_were_rivals_is_ptsams():
    assert sam_methods.config({"decoder_prompts": 3}) == PTSAMConfig(decoder_prompts=3)


@pytest.mark.parametrize("reading", ["original", "sam"])
def test_autosam_tells_foreground_from_background_as_a_softmax_does(reading):
    model = sam_methods.build(toy_sam(), AutoSAMConfig(reading=reading), seed=0)
    features = torch.randn(2, 256, 4, 4)
    with torch.no_grad():
        both = model.decode(features)
        model.background_token = None
        foreground = model.decode(features)
        model.mask_token = BACKGROUND
        background = model.decode(features)
    chance = torch.stack([background, foreground]).softmax(dim=0)[FOREGROUND]
    torch.testing.assert_close(both.sigmoid(), chance, atol=1e-5, rtol=1e-4)


def test_autosam_as_sam_starts_from_sams_own_masks():
    sam, features = toy_sam(), torch.randn(2, 256, 4, 4)
    model = sam_methods.build(sam, AutoSAMConfig(reading="sam", mask_token=2), seed=0)
    assert torch.equal(model.sam.mask_decoder.mask_tokens.weight, sam.mask_decoder.mask_tokens.weight[[0, 2]])
    assert torch.equal(model.sam.prompt_encoder.no_mask_embed.weight, sam.prompt_encoder.no_mask_embed.weight)
    assert model.decode(features).shape == (2, 16, 16)


def test_autosam_as_its_authors_wrote_it_leaves_out_the_embedding_for_no_prompt():
    sam = toy_sam()
    model = sam_methods.build(sam, AutoSAMConfig(), seed=0)
    assert not model.sam.prompt_encoder.no_mask_embed.weight.any()
    assert sam.prompt_encoder.no_mask_embed.weight.any()


@every_method
def test_a_seed_means_the_same_start(config):
    one, same = (sam_methods.build(toy_sam(), config, seed=1).trainable() for _ in range(2))
    assert all(torch.equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize(("kind", "wrong", "message"), [
    (CellSeg1Config, {"decoder_rank": 0}, "method.decoder_rank is 0; expected at least 1."),
    (CellSeg1Config, {"encoder_rank": -1}, "method.encoder_rank is -1; expected 0 (frozen) or more."),
    (CellSeg1Config, {"mask_token": 4}, "method.mask_token is 4; SAM has four masks, 0 to 3."),
    (AutoSAMConfig, {"reading": "mine"}, 'method.reading is "mine"; expected "original" or "sam".'),
    (AutoSAMConfig, {"tiles": 0}, "method.tiles is 0; expected at least 1."),
    (SAMedConfig, {"encoder_rank": 0}, "method.encoder_rank is 0; expected at least 1."),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(kind, wrong, message):
    with pytest.raises(ConfigError) as error:
        kind(**wrong)
    assert str(error.value) == message


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigError) as error:
        sam_methods.named("medsam")
    assert str(error.value) == "There is no method medsam. There are: ptsam, cellseg1, autosam, samed."
