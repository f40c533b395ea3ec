"""Figures are drawn from whatever a search has, and say what the trials say."""

from xml.etree import ElementTree

import numpy as np
import pytest

from ptsam_auto.search import trial_figures as figures
from ptsam_auto.search.space import Choice, Range, Space
from ptsam_auto.search.trial_figures import write_figures
from tests.search.toys import ended, record

RATE, COUNT, SIZE = "recipe.learning_rate", "method.decoder_prompts", "recipe.loss_size"
SEARCH = {RATE: Range(0.001, 0.2, log=True), COUNT: Choice((1, 2, 4, 8)), SIZE: Choice(("decoder", "input"))}


def request(*paths):
    return record(search={path: SEARCH[path] for path in paths}).request


def trials(count, *paths):
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        rate, prompts = float(10 ** rng.uniform(-3, -0.7)), int(rng.choice([1, 2, 4, 8]))
        dice = 0.8 - 0.1 * abs(np.log10(rate) + 1.5) + 0.01 * prompts
        trial = ended(number, (dice, dice + 0.02), trainable=256 * prompts, **{RATE: rate})
        values = {RATE: rate, COUNT: prompts, SIZE: str(rng.choice(["decoder", "input"]))}
        trial.configuration = {path: values[path] for path in paths}
        found.append(trial)
    return found


@pytest.mark.parametrize(("count", "paths", "names"), [
    (1, (RATE,), {"history", "slice", "cost"}),
    (3, (RATE, COUNT), {"history", "slice", "cost", "prompt_counts"}),
    (12, (RATE, COUNT, SIZE), {"history", "slice", "cost", "prompt_counts", "importance", "contour"}),
    (12, (SIZE, COUNT), {"history", "slice", "cost", "prompt_counts", "importance", "contour"}),
])  # fmt: skip
def test_what_can_be_drawn_is_drawn(tmp_path, count, paths, names):
    written = write_figures(tmp_path, trials(count, *paths), request(*paths))
    assert {path.stem for path in written} == names
    again = write_figures(tmp_path / "again", trials(count, *paths), request(*paths))
    for path, other in zip(written, again, strict=True):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.read_bytes() == other.read_bytes(), "drawn anew it is another file"


def test_trials_that_failed_or_were_stopped_are_no_obstacle(tmp_path):
    found = trials(8, RATE, COUNT)
    found[1].state, found[2].state, found[2].rungs = "stopped", "failed", []
    assert len(write_figures(tmp_path, found, request(RATE, COUNT))) == 6


def test_the_setting_that_matters_is_the_important_one():
    space = Space("toy", "", {path: SEARCH[path] for path in (RATE, SIZE)})
    weights = figures._importance(trials(40, RATE, SIZE), space)
    assert weights[RATE] > 2 * weights[SIZE]


def test_a_setting_that_does_nothing_is_not_called_important():
    """One of two settings has more than half of the importance, whatever the scores are."""
    space, noise = Space("toy", "", {path: SEARCH[path] for path in (RATE, SIZE)}), np.random.default_rng(1)
    found = trials(24, RATE, SIZE)
    chance = figures._by_chance(found, space)
    assert figures._importance(found, space)[RATE] > chance[RATE]
    called = 0
    for _ in range(8):
        for trial in found:
            trial.rungs = ended(0, (noise.random(), noise.random())).rungs
        weights, chance = figures._importance(found, space), figures._by_chance(found, space)
        assert max(weights.values()) > 0.5 * sum(weights.values())
        called += sum(weights[path] > chance[path] for path in weights)
    assert called <= 3, "one in twenty is above the mark"


def test_the_curve_of_the_papers_figure_5():
    """A point is the best trial with that many prompts; its bar the standard error over splits."""
    found = [
        ended(0, (0.70, 0.72), trainable=256),
        ended(1, (0.60, 0.62), trainable=256),
        ended(2, (0.80, 0.84), trainable=1024),
    ]
    found.sort(key=lambda trial: -trial.dice)
    (axes,) = figures._prompt_counts(found, [COUNT]).axes
    (curve,) = axes.containers
    assert curve[0].get_xdata().tolist() == [1, 4]
    assert curve[0].get_ydata().tolist() == pytest.approx([71, 82])
    lengths = [np.ptp(segment[:, 1]) / 2 for segment in curve[2][0].get_segments()]
    assert lengths == pytest.approx([100 * found[1].standard_error, 100 * found[0].standard_error])
