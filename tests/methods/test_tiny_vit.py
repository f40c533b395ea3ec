"""Every method works on the SAMs with a TinyViT as it does on SAM's own, with as many numbers as are written down."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptsam_auto import fit
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.autosam import AutoSAMConfig
from ptsam_auto.methods.cellseg1 import CellSeg1Config
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.network import build as build_network
from ptsam_auto.sam.tiny_vit import TINY_VITS
from ptsam_auto.specialist.artifact import Specialist, load_specialist, save
from ptsam_auto.training.bank import FeatureBank
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from tests.specialist.records import member, record
from tests.toys import sample, sampler, write_folder

pytestmark = pytest.mark.slow  # a part of the whole suite; the edit-test loop stays under a minute

NUMBERS = {
    PTSAMConfig(): 2_048,
    PTSAMConfig(encoder_prompts=8): 16_896,
    CellSeg1Config(): 23_552,
    CellSeg1Config(encoder_rank=4): 53_248,
    AutoSAMConfig(): 3_645_344,
    SAMedConfig(): 4_094_256,
}
RECIPE = Recipe(learning_rate=0.001, epochs=1, steps_per_epoch=2)


@pytest.fixture(scope="module")
def backbone(tiny):
    return checkpoint.load(tiny)


@pytest.mark.parametrize(("config", "numbers"), NUMBERS.items(), ids=str)
@pytest.mark.parametrize("name", TINY_VITS)
def test_trainable_numbers_are_those_written_down(config, numbers, name):
    with torch.device("meta"):
        sam = build_network(TINY_VITS[name])
    model = sam_methods.build(sam, config, seed=0)
    assert sum(parameter.numel() for parameter in model.trainable().values()) == numbers


@pytest.mark.parametrize("config", [one for one in NUMBERS if one.tunes_encoder or one == AutoSAMConfig()], ids=str)
def test_what_is_learned_changes_nothing_else_does_and_a_specialist_comes_back_as_it_went(config, backbone, tmp_path):
    before = {name: tensor.clone() for name, tensor in backbone.sam.state_dict().items()}
    model = sam_methods.build(backbone.sam, config, seed=0)
    first = {name: tensor.detach().clone() for name, tensor in model.trainable().items()}
    list(epochs(start(model, RECIPE), FreshViews(model, sampler(2, batch_size=1)), RECIPE))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.sam.state_dict().items())
    still = {name for name, tensor in model.trainable().items() if torch.equal(tensor, first[name])}
    # Of SAMed's whole prompt encoder and decoder no loss reaches the parts for clicks, for IoU and for other masks.
    assert not still or isinstance(config, SAMedConfig)
    assert not any("image_encoder" in name for name in still)

    save(tmp_path, Specialist(Mixture([model], [1.0]), record(member(backbone, config))))
    image = sample(0).image
    chance = load_specialist(tmp_path).probability(image)
    assert chance.shape == image.shape[:2]
    assert np.array_equal(chance, model.probability(image))


def test_what_fit_writes_predicts_the_same_mask_in_another_process(tiny, tmp_path):
    settings = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 1}
    settings |= {"recipe.learning_rate": 0.001, "method.mask_token": 1, "method.decoder_prompts": 8}
    folder = write_folder(tmp_path / "discs", 3)
    specialist = fit(folder, out=tmp_path / "specialist", backbone=tiny, settings=settings, folds=2, track=False)
    (only,) = specialist.record.members
    assert (only.backbone.name, only.adapt, specialist.record.cost.trainable) == (tiny, "decoder", 2048)
    expected = specialist.predict(folder / "images" / "disc00.png")
    assert 0.1 < expected.mean() < 0.9, "neither nothing nor everything"
    new = [str(tmp_path / "specialist"), str(folder / "images" / "disc00.png"), "--out", str(tmp_path / "masks")]
    subprocess.run([Path(sys.executable).parent / "ptsam-auto", "predict", *new], check=True, timeout=120)
    with Image.open(tmp_path / "masks" / "disc00.png") as mask:
        assert np.array_equal(np.asarray(mask) > 0, expected)


def test_banked_features_are_those_of_fresh_views(backbone, tmp_path):
    model = sam_methods.build(backbone.sam, PTSAMConfig(), seed=0)
    bank = FeatureBank(tmp_path, model, backbone.sha256, sampler(2, 1), Recipe(epochs=1, steps_per_epoch=2, views=1))
    ours, fresh = bank.draw(1), FreshViews(model, sampler(2, 1)).draw(1)
    torch.testing.assert_close(ours.features_B256GG, fresh.features_B256GG, atol=5e-3, rtol=5e-3)
    assert torch.equal(ours.target_BSS, fresh.target_BSS)


def test_one_output_pixel_for_each_input_pixel(backbone):
    """LiteMedSAM's masks have the input's resolution, where SAM's have a quarter of it: the loss shrinks nothing."""
    model = sam_methods.build(backbone.sam, PTSAMConfig(), seed=0)
    assert model.image_size == 256
    with torch.no_grad():
        assert model.decode(torch.randn(1, 256, 64, 64)).shape == (1, 256, 256)


def test_a_backbone_says_whose_defaults_and_which_pixels_fit(backbone):
    assert (backbone.family, backbone.pixels) == ("lite_medsam", "own range")
