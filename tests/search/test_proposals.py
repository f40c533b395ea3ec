"""What is proposed depends on the seed, the trial's number and what is known, and on nothing else."""

import math

import optuna
import pytest

from ptsam_auto.search.proposals import STARTUP_TRIALS, Proposals
from ptsam_auto.search.record import Rung, Trial
from tests.search.toys import space

SPACE = space(trials=30)


def score(configuration):
    """Best at a learning rate of 0.02."""
    return 0.9 - 0.2 * abs(math.log10(configuration["recipe.learning_rate"]) - math.log10(0.02))


def end(number, configuration, state="finished"):
    dice = score(configuration)
    rungs = [Rung(0.5, 2, 4, {"discs/0": dice, "discs/1": dice}, 0.3, 1.0)] if state != "failed" else []
    return Trial(number, configuration, {}, rungs, state)


def run(count, past=(), seed=0):
    """A search of one trial at a time; every fifth is stopped early, every seventh fails."""
    trials = list(past)
    proposals = Proposals(SPACE, seed, list(past))
    for number in range(len(trials), count):
        state = "failed" if number % 7 == 6 else "stopped" if number % 5 == 4 else "finished"
        trials.append(end(number, proposals.propose(number), state))
        proposals.record_result(trials[-1])
    return trials


def test_a_search_that_was_cut_short_goes_on_as_if_it_had_not_been():
    whole = [trial.configuration for trial in run(20)]
    for cut in (1, 7, 13):
        assert [trial.configuration for trial in run(20, past=run(cut))] == whole
    assert [trial.configuration for trial in run(20, seed=1)] != whole


def test_a_trial_that_was_under_way_counts_as_running():
    trials = run(12)
    trials[-1].state = "running"
    proposals = Proposals(SPACE, 0, trials)
    study = proposals._study
    assert [trial.state for trial in study.trials].count(optuna.trial.TrialState.RUNNING) == 1
    proposals.propose(12)
    trials[-1].state = "finished"
    proposals.record_result(trials[-1])
    assert [trial.state for trial in study.trials].count(optuna.trial.TrialState.RUNNING) == 1


def test_the_spaces_own_configurations_come_first():
    assert run(1)[0].configuration == {"recipe.learning_rate": 0.05, "method.decoder_prompts": 8}


def test_it_learns_where_the_optimum_is():
    late = [trial.configuration["recipe.learning_rate"] for trial in run(30)[STARTUP_TRIALS:]]
    near = sum(0.01 < rate < 0.04 for rate in late) / len(late)
    by_chance = math.log(4) / math.log(200)
    assert near > 1.5 * by_chance


def test_a_stopped_trial_is_pruned_and_a_failed_one_no_score():
    proposals = Proposals(SPACE, 0, run(7))
    states = [trial.state for trial in proposals._study.trials]
    assert (states[4], states[6]) == (optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
    assert proposals._study.trials[0].value == pytest.approx(score({"recipe.learning_rate": 0.05}))
