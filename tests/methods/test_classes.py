"""Several classes on one encoding: each has its own prompts, and they exclude each other."""

import numpy as np
import pytest
import torch

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.autosam import AutoSAMConfig
from ptsam_auto.methods.prompt_free import class_probabilities
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.metrics.classes import counts_of, decided
from ptsam_auto.portfolio.selection import Image, select
from ptsam_auto.specialist.calibration import confidence
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.training.loss import segmentation_loss
from tests.toys import toy_sam


def test_each_class_sees_what_a_model_with_its_prompts_alone_sees():
    sam = toy_sam()
    model = sam_methods.build(sam, PTSAMConfig(decoder_prompts=3), seed=1, classes=3).eval()
    alone = sam_methods.build(sam, PTSAMConfig(decoder_prompts=3), seed=1).eval()
    assert (model.classes, model.decoder_prompts.shape, alone.classes) == (3, (3, 3, 256), 1)
    features = torch.randn(2, 256, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model.decode(features)
        for number in range(3):
            alone.decoder_prompts.copy_(model.decoder_prompts[number])
            torch.testing.assert_close(together[:, number], alone.decode(features))


def test_encoder_prompts_are_common_to_all_classes():
    config = PTSAMConfig(decoder_prompts=2, encoder_prompts=2)
    one, three = (sam_methods.build(toy_sam(), config, 0, classes=count) for count in (1, 3))
    assert three.encoder_prompts.shape == one.encoder_prompts.shape


def test_methods_that_find_one_class_say_so():
    with pytest.raises(ConfigError, match="autosam finds one class, but the images have 2"):
        sam_methods.build(toy_sam(), AutoSAMConfig(), 0, classes=2)


def test_probabilities_of_classes_and_background_add_up_and_the_largest_logit_wins():
    logits = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    probability = class_probabilities(logits)[0].numpy()
    largest = logits[0].max(dim=0)
    expected = torch.where(largest.values > 0, largest.indices + 1, 0).numpy()
    assert np.array_equal(decided(probability), expected)
    torch.testing.assert_close(class_probabilities(logits[:, :1]), logits[:, :1].sigmoid())


def test_a_lower_threshold_finds_more_but_does_not_change_the_class():
    probability = np.array([[[0.30, 0.1]], [[0.25, 0.1]]])
    assert decided(probability).tolist() == [[0, 0]]
    assert decided(probability, 0.3).tolist() == [[1, 0]]


def test_the_loss_of_classes_is_cross_entropy_and_the_mean_dice():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    numbers = torch.randint(0, 4, (2, 8, 8), generator=generator)
    target = torch.stack([numbers == number for number in (1, 2, 3)], dim=1).float()
    inside = torch.ones(2, 8, 8)
    inside[:, :, 6:] = 0
    loss = segmentation_loss(logits, target, inside, 0.2)
    with_background = torch.cat([torch.zeros(2, 1, 8, 8), logits], dim=1)[..., :6]
    expected = torch.nn.functional.cross_entropy(with_background, numbers[..., :6])
    torch.testing.assert_close(loss.cross_entropy, expected)
    p, t = with_background.softmax(dim=1)[:, 1:], target[..., :6]
    sums = [(part * other).sum(dim=(0, 2, 3)) for part, other in ((p, t), (p, p), (t, t))]
    torch.testing.assert_close(loss.dice, (1 - (2 * sums[0] + 1) / (sums[1] + sums[2] + 1)).mean())
    assert segmentation_loss(60 * target - 30, target, inside, 0.2).total < 1e-3


def test_the_dice_of_an_image_is_the_mean_over_the_classes_that_it_shows():
    truth, predicted = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    truth[:2], truth[2] = 1, 2
    predicted[:2], predicted[3] = 1, 3
    score = ImageScore.of("a", predicted, truth, None, classes=3)
    assert score.dice_of_classes == (1.0, 0.0, None)
    assert score.dice == 0.5
    blank = ImageScore.of("b", predicted, np.zeros_like(truth), None, classes=3)
    assert blank.blank
    assert Scores.of([score, blank]).of_classes == (1.0, 0.0, None)
    assert Scores.of([score, blank]).dice == 0.5
    assert [counts.true_positive for counts in counts_of(predicted, truth, None, 3)] == [8, 0, 0]


def test_a_member_that_exchanges_the_classes_is_not_chosen():
    truth = np.zeros((8, 8), np.uint8)
    truth[:4], truth[4:6] = 1, 2
    right = np.stack([truth == 1, truth == 2]).astype(np.float32)
    ignored = np.zeros(truth.shape, bool)
    images = [Image.of([right[::-1], right], truth, ignored) for _ in range(3)]
    selection = select(images, [1.0, 2.0])
    assert selection.weights == (0.0, 1.0)
    assert selection.dice == (1.0, 1.0, 1.0)
    assert confidence(right) == pytest.approx(1.0)
