"""What to try next: the space's own configurations first, then Optuna's. All it knows comes from the journal."""

import hashlib
import logging
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from ptsam_auto.search.records import Trial
from ptsam_auto.search.space import Choice, Configuration, Range, Space

STARTUP = 10  # trials before the sampler trusts what it has seen; the space's own configurations count
STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class Proposals:
    """Optuna's TPE over a space.

    There is no state besides what was tried and what came of it: the sampler's random numbers are those of the seed
    and the trial's number. So a search that was killed goes on as if it had not been, from the journal alone, and no
    second record on disk can disagree with it. Trials that were stopped early count as pruned, not as finished with a
    low score, and running ones as the liar in TPE's constant liar has them.

    Args:
        space: what may be tried.
        seed: of the proposals.
        past: trials of earlier runs of the same search, by number.
    """

    def __init__(self, space: Space, seed: int, past: list[Trial]) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._space, self._seed = space, seed
        self._distributions = distributions(space)
        self._study = optuna.create_study(direction="maximize")
        self._asked: dict[int, optuna.Trial] = {}
        for trial in past:
            if trial.state == "running":
                self.resume(trial)
            else:
                self._study.add_trial(frozen(trial, self._distributions))

    def propose(self, number: int) -> Configuration:
        """The configuration of trial `number`, which from now on counts as running."""
        # A list of [seed, number] as one 32-bit seed.
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4], "big"), n_startup_trials=STARTUP, constant_liar=True
        )
        if number < len(self._space.first):
            self._study.enqueue_trial(dict(self._space.first[number]))
        trial = self._study.ask(self._distributions)
        self._asked[number] = trial
        return {path: trial.params[path] for path in self._space.search}

    def resume(self, trial: Trial) -> None:
        """Count a trial as running that an earlier run began."""
        self._study.enqueue_trial(dict(trial.configuration))
        self._asked[trial.number] = self._study.ask(self._distributions)

    def told(self, trial: Trial) -> None:
        """Take note of a trial's end."""
        asked = self._asked.pop(trial.number)
        for rung in trial.rungs:
            asked.report(rung.dice, rung.epoch)
        value = trial.dice if trial.state == "finished" else None
        self._study.tell(asked, value, STATES[trial.state])


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    return {path: _distribution(values) for path, values in space.search.items()}


def frozen(trial: Trial, over: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """A trial that has ended as Optuna has it."""
    return optuna.trial.create_trial(
        state=STATES[trial.state],
        value=trial.dice if trial.state == "finished" else None,
        params=dict(trial.configuration),
        distributions=over,
        intermediate_values={rung.epoch: rung.dice for rung in trial.rungs},
    )


def _distribution(values: Choice | Range) -> Any:  # noqa: ANN401 - one of three
    if isinstance(values, Choice):
        return CategoricalDistribution(values.values)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high))
    return FloatDistribution(values.low, values.high, log=values.log)
