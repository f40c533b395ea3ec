"""Scores are means over images, and a useless specialist raises an alarm."""

import pytest

from ptsam_auto.specialist.evaluate import ImageScore, Scores


def scores(*dice, share=0.5):
    return Scores(tuple(ImageScore(f"{i}", d, d / (2 - d), share) for i, d in enumerate(dice)))


def test_mean_and_deviation_over_images():
    assert scores(0.6, 0.8).dice == pytest.approx(0.7)
    assert scores(0.6, 0.8).dice_std == pytest.approx(0.1414, abs=1e-4)
    assert scores(0.6).dice_std == 0.0


@pytest.mark.parametrize(("share", "alarm"), [
    (0.0, "The specialist finds nothing: every predicted mask is background."),
    (1.0, "The specialist finds everything: every predicted mask is all foreground."),
    (0.01, None),
])  # fmt: skip
def test_alarms(share, alarm):
    assert scores(0.5, 0.5, share=share).alarm == alarm


def test_scores_survive_json():
    assert Scores.from_dict(scores(0.1, 0.9).as_dict()) == scores(0.1, 0.9)
