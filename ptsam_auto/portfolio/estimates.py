"""Estimates how long the trials and the final trainings of a choice take on this machine."""

from collections.abc import Sequence
from dataclasses import replace

from ptsam_auto.experiment.fold_runner import IN_THIS_PROCESS, FoldRunner
from ptsam_auto.portfolio.cost import Cost, Speed
from ptsam_auto.portfolio.task import Candidate, Task, Trial
from ptsam_auto.training.trainer import SamTrainer

SLOWEST, FASTEST = 4.0, 0.5  # limits of how many times as long as estimated a trial is taken to last


class Estimates:
    """Durations, seconds: from one measured step and pass of each member, corrected by how long the trials took.

    A training on all images is never estimated to be quicker than it was measured.

    Args:
        candidates: Candidates, at least one.
        task: Images, folds and budget.

    Attributes:
        runner: How the folds are run: in this process, or with `use_runner` by that of the task.
    """

    def __init__(self, candidates: Sequence[Candidate], task: Task) -> None:
        self._candidates, self._task = candidates, task
        self._costs: dict[tuple[int, int | None], Cost] = {}  # by candidate and number of threads
        self._speeds: dict[tuple[object, ...], Speed] = {}
        self._finished: set[Trial] = set()
        # Of the trials of each candidate so far: how long they were estimated to take, and how long they took.
        self._estimated: dict[int, float] = {}
        self._needed: dict[int, float] = {}
        self.runner: FoldRunner = IN_THIS_PROCESS

    def use_runner(self) -> None:
        """Run the folds by the runner of the task, if it is worth its start."""
        self.run_in_this_process()
        if self._is_worth_its_start():
            self.runner = self._task.runner

    def run_in_this_process(self) -> None:
        """Run the folds in this process, with all its threads."""
        self.runner = IN_THIS_PROCESS

    def of_trial(self, trial: Trial) -> float:
        """Return the duration of what is left of a trial."""
        return self._slowness(trial.candidate) * self._uncorrected(trial)

    def of_final(self, candidate: int, share: float) -> float:
        """Return the duration of the training of a candidate on all images with a fraction of its steps."""
        # A trial is quicker than estimated because of its predictions; this has none.
        slowness = max(1.0, self._slowness(candidate))
        return slowness * self._cost(candidate).final(share, self._views(candidate))

    def per_image(self, candidate: int) -> float:
        """Return the duration of a prediction of a typical image."""
        return self._cost(candidate).per_image

    def folds_left(self, trial: Trial) -> int:
        """Return the number of folds of a trial that no earlier one has run with the same steps."""
        same = (one.folds for one in self._finished if (one.candidate, one.share) == (trial.candidate, trial.share))
        return trial.folds - max(same, default=0)

    def finished(self, trials: Sequence[Trial], seconds: float | None) -> None:
        """Note trials that are finished.

        Args:
            trials: The trials, run at the same time if the runner does so.
            seconds: How long they took together, or None if that says nothing, because a part was there before.
        """
        if seconds is not None:
            estimated = {trial: self._uncorrected(trial) for trial in trials}
            together = sum(estimated.values())
            for trial, alone in estimated.items() if together else ():
                of_it = trial.candidate
                self._estimated[of_it] = self._estimated.get(of_it, 0.0) + alone
                self._needed[of_it] = self._needed.get(of_it, 0.0) + seconds * alone / together
        self._finished.update(trials)

    def _slowness(self, candidate: int) -> float:
        """Return how many times as long as estimated the trials of a candidate took, or all if it has none.

        Other programs may run, or memory may be slow, which is worse for some networks than for others.
        """
        among = [candidate] if self._estimated.get(candidate) else list(self._estimated)
        estimated, needed = (sum(of_each[one] for one in among) for of_each in (self._estimated, self._needed))
        return min(max(needed / estimated, FASTEST), SLOWEST) if estimated else 1.0

    def _uncorrected(self, trial: Trial) -> float:
        """Return the duration of what is left of a trial on a machine as fast as it was measured."""
        left = self.folds_left(trial)
        cost, views_before = self._cost(trial.candidate), self._views(trial.candidate)
        alone = cost.cross_fit(len(self._task.folds), trial.share, views_before, left)
        return alone * -(-left // self.runner.at_once) / left if left else 0.0

    def _is_worth_its_start(self) -> bool:
        """Return whether cross-fitting all candidates takes so long here that the runner is worth its start."""
        worth_from = self._task.runner.worth_from
        if not worth_from or not all(isinstance(one.plan.trainer, SamTrainer) for one in self._candidates):
            return not worth_from
        folds = len(self._task.folds)
        alone = sum(self._cost(index).cross_fit(folds, 1.0) for index in range(len(self._candidates)))
        return alone > worth_from

    def _views(self, candidate: int) -> int:
        """Return the number of views of each image that the trials of a candidate have encoded."""
        shares = [trial.share for trial in self._finished if trial.candidate == candidate]
        return max((self._cost(candidate).views(share, len(self._task.pairs)) for share in shares), default=0)

    def _cost(self, candidate: int) -> Cost:
        key = candidate, self.runner.threads
        if key not in self._costs:
            trainer = self._candidates[candidate].plan.trainer
            assert isinstance(trainer, SamTrainer)
            task = self._task
            trainer = replace(trainer, classes=task.classes)
            self._costs[key] = Cost(
                trainer, task.pairs, len(task.train), task.device, self.runner.threads, self._speeds
            )
        return self._costs[key]
