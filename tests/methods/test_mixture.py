"""A mixture is the weighted mean of its members, and costs one encoding of each tile that members share."""

import numpy as np
import pytest
import torch

from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import image_encoder
from ptsam_auto.sam.tiles import Tiling
from tests.toys import sample, toy_sam

WHOLE, TILES = Tiling(1), Tiling(2)


def model(sam, seed, tiling, encoder_prompts=0):
    return sam_methods.build(sam, PTSAMConfig(encoder_prompts=encoder_prompts, prompt_std=0.5), seed, tiling).eval()


@pytest.fixture
def passes(monkeypatch):
    """The number of passes through an image encoder so far."""
    counted = []
    original = image_encoder.encode

    def encode(*arguments):
        counted.append(1)
        return original(*arguments)

    monkeypatch.setattr(image_encoder, "encode", encode)
    return counted


def test_a_mixture_is_the_weighted_mean_of_its_members():
    sam, other = toy_sam(), toy_sam(seed=1)
    members = [model(sam, 1, TILES), model(sam, 2, TILES), model(sam, 3, WHOLE), model(sam, 4, TILES, 2),
               model(other, 5, TILES)]  # fmt: skip
    weights = [0.5, 0.125, 0.125, 0.125, 0.125]
    image = sample(0).image
    mixture = Mixture(members, weights)
    expected = sum(weight * one.probability(image) for weight, one in zip(weights, members, strict=True))
    found = mixture.probability(image)
    assert (found.shape, found.dtype) == ((48, 64), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(mixture.predict(image), found > 0.5)
    assert not np.allclose(members[0].probability(image), members[1].probability(image)), "the members differ"


def test_a_single_member_is_itself():
    one = model(toy_sam(), 0, TILES)
    image = sample(1).image
    assert np.array_equal(Mixture([one], [1.0]).probability(image), one.probability(image))


def test_each_tile_is_encoded_once_whatever_the_number_of_members(passes):
    sam, image = toy_sam(), sample(0).image
    tiles = len(TILES.boxes(48, 64, 64))
    assert tiles > 1
    Mixture([model(sam, seed, TILES) for seed in range(3)], [0.5, 0.25, 0.25]).probability(image)
    assert len(passes) == tiles
    passes.clear()
    Mixture([model(sam, 0, TILES), model(sam, 1, WHOLE)], [0.5, 0.5]).probability(image)
    assert len(passes) == tiles + 1, "other tiles have other features"
    passes.clear()
    Mixture([model(sam, 0, TILES), model(sam, 1, TILES, 2)], [0.5, 0.5]).probability(image)
    assert len(passes) == 2 * tiles, "a tuned encoder has features of its own"


def test_the_learned_parameters_are_those_of_all_members():
    sam = toy_sam()
    members = [model(sam, 0, TILES), model(sam, 1, WHOLE, 2)]
    learned = Mixture(members, [0.5, 0.5]).trainable()
    assert list(learned) == ["0.decoder_prompts", "1.decoder_prompts", "1.encoder_prompts"]
    assert learned["1.decoder_prompts"] is members[1].decoder_prompts
    assert Mixture(members, [0.5, 0.5]).device == torch.device("cpu")
