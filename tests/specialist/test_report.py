"""Overlays colour what is wrong as the paper's Fig. 6 does; the report says what the images were taken for."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from ptsam_auto.data.dataset import Sample
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist.record import ChoiceRecord, TriedRecord
from ptsam_auto.specialist.report import PICTURE_SIDE, Panel, Pictures, methods_paragraph, overlay, write_report
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.svg import embedded
from ptsam_auto.training.scale import Scale
from tests.specialist.records import member, record

PICTURES = Pictures(*[np.zeros((4, 4, 3), np.uint8)] * 3, missed=0.1, wrong=0.2)


def test_missed_is_yellow_invented_is_red_and_the_rest_keeps_its_look():
    image = np.full((1, 4, 3), 100, np.uint8)
    predicted, truth = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    found, invented, missed, nothing = overlay(image, predicted, truth)[0].astype(int)
    assert found[2] > found[0], "found is blue"
    assert invented[0] > 150
    assert max(invented[1:]) < 90
    assert missed[0] > 150
    assert missed[1] > 150
    assert missed[2] < 90
    assert nothing.tolist() == [100, 100, 100]


def test_without_a_truth_the_mask_is_blue():
    image = np.full((1, 2, 3), 100, np.uint8)
    marked, bare = overlay(image, np.array([[True, False]]))[0].astype(int)
    assert marked[2] > marked[0]
    assert bare.tolist() == [100, 100, 100]


def test_large_images_are_shown_small():
    image, mask = np.zeros((2000, 1000, 3), np.uint8), np.zeros((2000, 1000), bool)
    panel = Panel("a", 1.0, None, Pictures.of(Sample("a", image, mask), mask))
    assert panel.side_by_side.shape == (PICTURE_SIDE, 3 * PICTURE_SIDE // 2, 3)


def test_what_went_wrong_is_said_in_words():
    truth, predicted = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[:4], predicted[1:6] = True, True
    pictures = Pictures.of(Sample("a", np.zeros((10, 10, 3), np.uint8), truth), predicted)
    said = Panel("a", 0.5, None, pictures).what_went_wrong
    assert said == "25 % of the foreground is missed, 40 % of what is found is wrong"
    nothing = Pictures.of(Sample("a", np.zeros((10, 10, 3), np.uint8), truth), np.zeros_like(truth))
    assert Panel("a", 0.0, None, nothing).what_went_wrong == "nothing is found"


def test_the_report_shows_what_was_understood_and_a_blank_image_has_no_dice(tmp_path, toy):
    made = record(member(checkpoint.load(toy), PTSAMConfig(), scale=Scale(2, 288, 500, 520)))
    scores = Scores.of([ImageScore("b", 0.5, 0.4, 0.3), ImageScore("empty", 0.0, 0.0, 0.02, blank=True)])
    made = replace(
        made,
        data=replace(made.data, understood=(("mask values", "1 [red] is foreground"),)),
        scores=replace(made.scores, crossfit=scores),
    )
    curve = {"step": [1.0, 2.0], "loss": [0.5, 0.4]}
    panels = [Panel(image.name, image.dice, None, PICTURES) for image in scores.images]
    write_report(tmp_path / "report.html", "discs", made, {"ptsam": curve}, panels)
    text = " ".join((tmp_path / "report.html").read_text().split())
    assert "<th>mask values</th><td>1 [red] is foreground</td>" in text
    assert "288 px of an image at a time" in text
    assert "58.0</span> Dice, in percent, is expected on new images of this kind" in text
    assert "the 95 % interval of the mean is 40.0 to 80.0" in text
    assert "All 2 images were used for the training" in text
    assert "(cross-fitting, 2 folds)" in text
    assert "2.0 points are subtracted, because the best of several looks better" in text
    assert "On average 2.00 % of its area was called foreground" in text
    assert "<figcaption>empty: blank</figcaption>" in text
    assert "<td>empty</td>" not in text


def test_a_specialist_with_more_steps_than_were_cross_fitted_says_that_it_is_probably_better(tmp_path, toy):
    recipe = {"epochs": 5, "steps_per_epoch": 20}
    one = replace(member(checkpoint.load(toy), PTSAMConfig(), name="deep"), recipe=recipe, steps=100)
    choice = ChoiceRecord(10, (TriedRecord("deep", 0.2, 0.6, (0.7, 0.5), 9.0),), (), 0.0, 0.0)
    made = replace(record(one), choice=choice)
    assert made.cross_fitted_share == pytest.approx(0.2)
    assert replace(made, choice=None).cross_fitted_share == 1.0
    after_a_fold = replace(made, members=(replace(one, steps_before=20),))
    assert after_a_fold.cross_fitted_share == pytest.approx(20 / 120)
    curve = {"step": [1.0, 2.0], "loss": [0.5, 0.4]}
    panels = [Panel("a", 0.7, None, PICTURES)]
    write_report(tmp_path / "report.html", "discs", made, {"deep": curve}, panels)
    text = " ".join((tmp_path / "report.html").read_text().split())
    assert "The cross-fitting had 20 % of the steps of this specialist, so it is probably better than that" in text


def test_the_paragraph_for_a_paper_says_that_prompts_did_not_begin_at_random(toy):
    backbone = checkpoint.load(toy)
    learned, random = (
        record(member(backbone, PTSAMConfig(encoder_prompts=8, initial_prompts=first)))
        for first in ("scenes", "random")
    )
    assert "image encoder (beginning at prompts learned on rendered scenes), " in methods_paragraph(learned)
    assert "scenes" not in methods_paragraph(random)
    again = replace(random, members=(replace(random.members[0], steps=60, steps_before=20),))
    assert "60 optimiser steps after 20 on a part of the images" in methods_paragraph(again)
    assert "on a part" not in methods_paragraph(random)


def test_the_text_of_a_figure_can_be_read_on_a_dark_page():
    figure = Figure()
    figure.subplots().set_xlabel("Dice")
    assert embedded(figure).startswith('<svg fill="currentColor" ')
