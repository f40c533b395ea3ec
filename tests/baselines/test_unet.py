import numpy as np

from ptsam_auto.baselines.unet import UNet, train_unet
from ptsam_auto.metrics.dice import Counts
from ptsam_auto.training.settings import Settings
from tests.toys import pairs, sample


def test_a_unet_learns_discs_in_forty_steps():
    net = train_unet(pairs(4), Settings(), 64, 0, steps=40)
    unseen = sample(9)
    assert Counts.of(net.predict(unseen.image), unseen.mask).dice > 0.8


def test_the_same_seed_gives_the_same_unet_and_another_seed_another():
    first = train_unet(pairs(4), Settings(), 64, 0, steps=3)
    again = train_unet(pairs(4), Settings(), 64, 0, steps=3)
    other = train_unet(pairs(4), Settings(), 64, 1, steps=3)
    for name, parameter in first.trainable().items():
        assert parameter.equal(again.trainable()[name])
    assert not first.head.weight.equal(other.head.weight)


def test_a_unet_says_how_sure_it_is_at_the_size_of_the_image():
    net = train_unet(pairs(4), Settings(), 64, 0, steps=5)
    image = sample(3, height=70, width=90).image
    probability = net.probability(image)
    assert (probability.shape, probability.dtype) == ((70, 90), np.float32)
    assert 0 <= probability.min() < probability.max() <= 1
    assert np.array_equal(net.predict(image), probability > 0.5)


def test_every_weight_of_a_unet_is_trained():
    net = UNet(64)
    assert net.trainable().keys() == net.state_dict().keys()
