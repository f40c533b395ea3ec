"""An image that is predicted from top to bottom has the numbers of the whole image, bit by bit."""

import numpy as np
import pytest
import torch

from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.methods.rows import predicts_by_rows, probability_rows
from ptsam_auto.sam.tiles import Tiling
from tests.toys import toy_sam

HEIGHT, WIDTH = 190, 97
IMAGE = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def mixture():
    """Two members share the features of their tiles; the third has larger tiles."""
    sam, generator = toy_sam(), torch.Generator().manual_seed(0)
    members = [
        PromptFreeSam(sam, torch.randn(4, 256, generator=generator), tiling=Tiling(2, side)) for side in (40, 64, 40)
    ]
    return Mixture(members, [0.3, 0.5, 0.2])


@pytest.fixture(scope="module")
def whole(mixture):
    return mixture.probability(IMAGE)


@pytest.mark.parametrize("start", [0, 1, 60, HEIGHT - 1])
def test_the_parts_are_the_whole(mixture, whole, start):
    parts = [part[0] for part in probability_rows([mixture], IMAGE, start)]
    assert np.array_equal(np.concatenate(parts), whole[start:])
    assert max(map(len, parts)) <= 64, "at most a row of tiles at a time"


def test_tiles_above_the_first_row_are_not_encoded_again(mixture, monkeypatch):
    encoded = []
    encode = PromptFreeSam.encode
    monkeypatch.setattr(PromptFreeSam, "encode", lambda self, images: encoded.append(1) or encode(self, images))
    list(probability_rows([mixture], IMAGE))
    all_tiles = len(encoded)
    encoded.clear()
    list(probability_rows([mixture], IMAGE, HEIGHT - 10))
    assert len(encoded) < all_tiles / 3


def test_a_method_without_sam_is_not_asked_for_rows(mixture):
    class Threshold:
        device = torch.device("cpu")

    assert predicts_by_rows(mixture)
    assert not predicts_by_rows(Mixture([*mixture.models, Threshold()], [0.2, 0.3, 0.3, 0.2]))
