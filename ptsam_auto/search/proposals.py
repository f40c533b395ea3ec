"""Chooses the next configuration: first those that the search space lists, then proposals from Optuna."""

import hashlib
import logging
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from ptsam_auto.search.record import Trial
from ptsam_auto.search.space import Choice, Configuration, Range, Space

STARTUP_TRIALS = 10  # Number of trials before TPE starts; the configurations that the search space lists count.
STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class Proposals:
    """Proposals of Optuna's TPE sampler for a search space.

    A proposal depends only on the earlier trials, the random seed and the number of the trial; nothing else is saved.
    So an interrupted search continues with the same proposals, from the journal alone. Trials that were stopped early
    are pruned trials for Optuna, not finished trials with a low score. Running trials are handled by the constant-liar
    option of TPE.

    Args:
        space: The search space.
        seed: Random seed for the proposals.
        past: Trials of earlier calls of the same search, by number.
    """

    def __init__(self, space: Space, seed: int, past: list[Trial]) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._space, self._seed = space, seed
        self._distributions = distributions(space)
        self._study = optuna.create_study(direction="maximize")
        self._running: dict[int, optuna.Trial] = {}
        for trial in past:
            if trial.state == "running":
                self.resume(trial)
            else:
                self._study.add_trial(to_optuna_trial(trial, self._distributions))

    def propose(self, number: int) -> Configuration:
        """Return the configuration of trial `number`. From now on the trial counts as running."""
        # The seed and the number are hashed to one 32-bit seed.
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4], "big"), n_startup_trials=STARTUP_TRIALS, constant_liar=True
        )
        if number < len(self._space.first):
            self._study.enqueue_trial(dict(self._space.first[number]))
        trial = self._study.ask(self._distributions)
        self._running[number] = trial
        return {path: trial.params[path] for path in self._space.axes}

    def resume(self, trial: Trial) -> None:
        """Register a trial that an earlier call of the search started."""
        self._study.enqueue_trial(dict(trial.configuration))
        self._running[trial.number] = self._study.ask(self._distributions)

    def record_result(self, trial: Trial) -> None:
        """Report the result of an ended trial to Optuna."""
        optuna_trial = self._running.pop(trial.number)
        for rung in trial.rungs:
            optuna_trial.report(rung.dice, rung.epoch)
        value = trial.dice if trial.state == "finished" else None
        self._study.tell(optuna_trial, value, STATES[trial.state])


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Convert a search space to Optuna distributions."""
    return {path: _distribution(values) for path, values in space.axes.items()}


def to_optuna_trial(trial: Trial, space: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """Convert an ended trial to a trial of Optuna."""
    return optuna.trial.create_trial(
        state=STATES[trial.state],
        value=trial.dice if trial.state == "finished" else None,
        params=dict(trial.configuration),
        distributions=space,
        intermediate_values={rung.epoch: rung.dice for rung in trial.rungs},
    )


def _distribution(values: Choice | Range) -> Any:  # noqa: ANN401 - one of three
    if isinstance(values, Choice):
        return CategoricalDistribution(values.values)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high))
    return FloatDistribution(values.low, values.high, log=values.log)
