import numpy as np
import pytest

from ptsam_auto.baselines.otsu import Otsu, choose_otsu
from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.metrics.dice import Counts
from tests.toys import sample


@pytest.mark.parametrize("bright", [True, False])
def test_otsu_picks_the_side_that_the_training_masks_mark(bright):
    def load(seed):
        one = sample(seed)
        return one if bright else Sample(one.name, 255 - one.image, one.mask)

    found = choose_otsu([Pair(f"{seed}", f"{seed}", lambda seed=seed: load(seed)) for seed in range(3)])
    assert found == Otsu(bright)
    assert Counts.of(found.predict(load(5).image), load(5).mask).dice > 0.95


def test_a_threshold_has_certain_probabilities_and_no_parameters():
    image = sample(1).image
    probability = Otsu(bright=True).probability(image)
    assert probability.dtype == np.float32
    assert probability.shape == image.shape[:2]
    assert set(np.unique(probability)) == {0, 1}
    assert np.array_equal(probability > 0.5, Otsu(bright=True).predict(image))
    assert Otsu(bright=True).trainable() == {}
