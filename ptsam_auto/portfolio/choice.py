"""Tries the members of the portfolio on the user's images within a budget of time, and chooses among them.

First every member is cross-fitted with a small fraction of its steps, in the order of the portfolio; a member with few
steps, such as one with deep prompts, needs a larger fraction. If that takes too much of the budget, only half of the
folds are run, or a single one, so that every member is looked at. Then those that can still win, alone or as a part of
a mixture, are cross-fitted with all their steps, or with the largest fraction that the budget allows for all of them,
so that they are compared as equals; or at least the other folds are run. The choice is made by `portfolio.selection`
among those with all folds, and the chosen members are trained on all images. If the budget does not allow all their
steps, they begin at the prompts of the first fold, so that the steps of the cross-fitting are not lost.

Members and mixtures are compared with the steps that the rest of the budget allows them on all images, not with those
of the cross-fitting: what more steps are worth was measured on other datasets, one that learns late would look worse
than it will be, and the members of a mixture share the time.
"""

# K folds

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from ptsam_auto.experiment.cross_fit import CrossFit, CrossFitting, mixed_probability, seconds_spent
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.files import json_sha256, write_text
from ptsam_auto.methods.model import Model
from ptsam_auto.metrics.classes import decided
from ptsam_auto.portfolio.cost import shortened
from ptsam_auto.portfolio.estimates import Estimates
from ptsam_auto.portfolio.members import FEWEST_STEPS
from ptsam_auto.portfolio.selection import WORTH, Image, Selection, select, standard_error, with_more_steps
from ptsam_auto.portfolio.task import Candidate, Task, Trial
from ptsam_auto.records import RecordError, read_json, to_sealed_json
from ptsam_auto.specialist.expected import NONE_MISSING, Expected, MoreSteps, expectation
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.terminal import Terminal, table_of
from ptsam_auto.training.run import Start
from ptsam_auto.training.scale import Scale, scale_of
from ptsam_auto.training.trainer import SamTrainer, Trained, Trainer

SCREENING = 0.25  # largest fraction of the budget for the first look at all members
LONGEST_SCREENING = 0.5  # If half of the folds take more than this, a single one is run.
LARGEST_SHARE, SMALLEST_SHARE = 0.25, 0.1  # fraction of a member's steps in that look
LEAST_GROWTH = 1.5  # A second look has at least so many times the steps of the first.
MOST_COST = WORTH  # of Dice that a second look may cost the specialist if it is at one candidate alone
CLEARLY_WORSE = 2.0  # standard errors behind the best, after which a member is not looked at again
MOST_SECONDS = 1e9  # where the time has no limit
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Tried:
    """What a candidate has reached.

    Args:
        name: Name of the member.
        share: Fraction of its steps in the cross-fit with the most folds and steps.
        scores: Cross-fitted scores of the images of the folds that were run.
        seconds: Duration of all its cross-fits.
        compared: Mean Dice with which it was compared if that is not the cross-fitted one: as it will be with the steps
            that the budget allows it alone on all images.
    """

    name: str
    share: float
    scores: Scores
    seconds: float
    compared: float | None = None


@dataclass(frozen=True)
class Choice:
    """The result of the choice.

    Args:
        candidates: Indices of the chosen candidates.
        weights: Weight of each; the sum is 1.
        shares: Fraction of its steps with which each is trained on all images.
        scores: Cross-fitted scores of the choice, or None without cross-fitting.
        images: Indices of the images of these scores; all, unless the budget allowed only some folds.
        expected: Expected Dice on new images, or None.
        gain: How much better the best mixture is than the best single member, Dice, 0 to 1; None with one candidate.
        standard_error: Standard error of the gain, paired over the images; None with one candidate.
        tried: Everything that was tried.
        skipped: Name of each candidate that was not tried, and the reason.
    """

    candidates: tuple[int, ...]
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    scores: Scores | None = None
    images: tuple[int, ...] = ()
    expected: Expected | None = None
    gain: float | None = None
    standard_error: float | None = None
    tried: tuple[Tried, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Course:
    """What was decided so far, in plan.json, so that an interrupted choice continues in the same way."""

    key: str  # of the candidates, images, folds and seed that it belongs to
    share: float  # fraction of the steps in the first look
    folds: int  # number of folds in the first look
    trials: tuple[Trial, ...] = ()
    second: float | None = None  # smallest fraction of the steps in the second look, at those that can still win
    left: float | None = None  # seconds for the final trainings, when the choice was made
    needed: tuple[float, ...] = ()  # seconds of a final training of each finalist with all its steps, as estimated then


@dataclass(frozen=True)
class _Rest:
    """What there is for the final trainings.

    Args:
        left: Seconds.
        needed: Seconds that the training of each candidate needs with all its steps.
    """

    left: float
    needed: dict[int, float]


class Chooser:
    """Tries candidates and chooses; after an interruption a new one with the same arguments continues.

    Args:
        candidates: Candidates in the order in which they are tried, at least one.
        task: Images, folds and budget.
        terminal: Terminal that shows the progress.
    """

    def __init__(self, candidates: Sequence[Candidate], task: Task, terminal: Terminal) -> None:
        self._candidates, self._task, self._terminal = tuple(candidates), task, terminal
        self._results: dict[Trial, CrossFit] = {}
        self._began = time.perf_counter()
        self._is_started = False
        self._estimates = Estimates(self._candidates, task)
        key = _key(candidates, task)
        earlier = _earlier_course(task.folder, key)
        self._before = seconds_spent(task.folder)
        self._course = earlier or _Course(key, *self._screening())
        if self._course.folds > 1:
            self._estimates.use_runner()
        else:  # Other processes would have fewer threads each, and nothing to do beside it.
            self._estimates.run_in_this_process()

    def choose(self) -> Choice:
        """Try candidates until the budget is spent, and choose.

        Raises:
            PtsamError: A training failed because of a setting or the environment.
        """
        if len(self._task.folds) < 2:
            return Choice((0,), (1.0,), (1.0,))
        with self._bar() as update:
            self._run(self._course.trials, update)
            # Once the final trainings have begun, the choice is made, even if the budget is larger now.
            while self._course.left is None and (following := self._next()):
                self._decide(replace(self._course, trials=(*self._course.trials, *following)))
                self._run(following, update)
        return self._chosen()

    def train(self, choice: Choice) -> list[Trained]:
        """Train the chosen candidates on all images."""
        results = []
        for index, share in zip(choice.candidates, choice.shares, strict=True):
            candidate = self._candidates[index]
            if len(choice.candidates) > 1:
                self._terminal.say(f"Training {candidate.name} on all images.")
            folder = self._task.folder / f"final-{index}"
            folder.mkdir(parents=True, exist_ok=True)
            trainer = self._trainer(candidate, share)
            if isinstance(trainer, SamTrainer):
                trainer = candidate.distributed(replace(trainer, start=self._start(index, share)))
            results.append(trainer.train(self._task.train, self._task.seed, folder, self._task.device, self._terminal))
        return results

    def _start(self, index: int, share: float) -> Start | None:
        """Return the prompts at which a candidate begins that is trained on all images with a fraction of its steps."""
        if not self._share_before(index, share):
            return None
        trial, cross_fit = self._best_of(index)
        trainer = self._trainer(self._candidates[index], trial.share)
        assert isinstance(trainer, SamTrainer)
        return Start(cross_fit.learned(0).read_bytes(), trainer.settings.recipe.steps)

    def _share_before(self, index: int, share: float) -> float:
        """Return the fraction of its steps that are behind the prompts at which a candidate begins; 0 at first prompts.

        With all its steps it begins at first prompts.
        """
        return 0.0 if share >= 1 or not self._results else self._best_of(index)[0].share

    def cross_fits(self, choice: Choice) -> list[CrossFit]:
        """Return the cross-fit of each chosen candidate; [] without cross-fitting."""
        return [self._best_of(index)[1] for index in choice.candidates] if self._results else []

    @property
    def classes(self) -> int:
        """Return the number of classes of the masks."""
        return self._task.classes

    @property
    def seconds(self) -> float:
        """Return the time that was spent in this call, and in the complete trainings of earlier calls."""
        return self._before + self._elapsed

    def untuned(self, choice: Choice) -> tuple[Model, Scores | None] | None:
        """Return the untuned network, and its scores on the images of the cross-fitted scores, if there are any.

        One SAM may be far better on whole images than on tiles, or the other way round. So it is the best of the
        networks of all members that were tried, among those whose features of these images are saved; if there are
        none, that of the chosen member with the largest weight. None: it has none.
        """
        if self._task.classes > 1:
            return None  # The untuned network has one mask, which is of no class.
        pairs = [self._task.pairs[image] for image in choice.images]
        # Members with a frozen and with a tuned encoder have the same network.
        networks: dict[tuple[str, Scale | None, int], tuple[Model, HeldOut]] = {}
        for index in dict.fromkeys([_main(choice), *self._looked_at]):
            candidate = self._candidates[index]
            if candidate.plan.untuned is not None and candidate.backbone is not None:
                trained = candidate.plan.untuned.train(
                    self._task.pairs, self._task.seed, self._task.folder, self._task.device
                )
                held_out = HeldOut(self._task.bank, candidate.backbone.sha256, pairs)
                key = (candidate.backbone.sha256, trained.scale, candidate.plan.untuned.settings.method.mask_token)
                networks.setdefault(key, (trained.model, held_out))
        if not networks:
            return None
        first, *others = networks.values()
        if not choice.images:
            return first[0], None
        saved = [(model, held_out) for model, held_out in (first, *others) if held_out.is_encoded(model)] or [first]
        measured = [(model, held_out.scores(model)) for model, held_out in saved]
        return max(measured, key=lambda one: one[1].dice)

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    @property
    def _remaining(self) -> float:
        if self._task.seconds is None:
            return float("inf")
        return self._task.seconds - self._before - self._elapsed

    @property
    def _looked_at(self) -> list[int]:
        """Return the candidates that were tried so far, in the order of the portfolio."""
        return sorted({trial.candidate for trial in self._results})

    def _next(self) -> list[Trial]:
        """Return what to try next, as many as can run at the same time; [] if nothing more fits into the budget."""
        every = len(self._task.folds)
        if len(self._candidates) == 1:
            return [] if self._results else [Trial(0, 1.0, every)]
        at_once = max(1, self._estimates.runner.at_once // self._course.folds)
        left = [self._first_look_of(i) for i in range(len(self._candidates)) if i not in self._looked_at]
        fitting = [trial for trial in left if self._fits(trial)]
        if not self._results:
            fitting = [left[0], *(trial for trial in fitting if trial != left[0])]  # The first is tried in any case.
        if fitting:
            return fitting[:at_once]
        promising = self._promising()
        if self._course.second is None:
            self._decide(replace(self._course, second=self._second_share(promising)))
        again = self._second_looks(promising, self._course.second or 0.0)
        return [trial for trial in again if self._fits(trial)][:at_once]

    def _second_share(self, promising: Sequence[int]) -> float:
        """Return the largest fraction of their steps for which all promising candidates fit into the budget.

        If not even the smallest useful one does, it is that of the best candidate alone, or 0.
        """
        weights = self._selected(self._looked_at, self._rest(self._looked_at)).weights
        mixture = [index for index, weight in zip(self._looked_at, weights, strict=True) if weight]
        first = self._course.share
        shares = [*map(float, np.linspace(1.0, LEAST_GROWTH * first, 20))]
        if self._course.folds < len(self._task.folds):
            shares.append(first)  # the other folds of the first look
        for among in (promising, promising[:1]):
            for share in shares:
                needed = sum(map(self._estimates.of_trial, self._second_looks(among, share)))
                # The specialist itself is worth more than a longer look at what it is chosen from.
                finals = {
                    index: self._estimates.of_final(index, 1.0 if share > first else self._doubled(index))
                    for index in {*among, *mixture}
                }
                longest = max(sum(finals[index] for index in mixture), *(finals[index] for index in among))
                fits = needed + longest <= self._remaining
                if fits and (len(among) > 1 or self._costs_little(among[0], needed)):
                    return share
        return 0.0

    def _costs_little(self, index: int, seconds: float) -> bool:
        """Return whether a candidate loses at most `MOST_COST` by the steps for which there is no time then.

        A look at one candidate alone tells more about it, and changes nothing about which one is the best.
        """
        doubling, whole = self._candidates[index].doubling, self._estimates.of_final(index, 1.0)
        before, after = (min(1.0, left / whole) for left in (self._remaining, self._remaining - seconds))
        if doubling is None or after <= 0:
            return after > 0
        dice = self._best_of(index)[1].scores.dice
        return bool(dice - with_more_steps(dice, doubling.mean * math.log2(after / before)) <= MOST_COST)

    def _second_looks(self, candidates: Sequence[int], share: float) -> list[Trial]:
        """Return what is left to do for some candidates: all folds, with this fraction of their steps or more."""
        looks = []
        for index in candidates if share else ():
            best = self._best_of(index)[0]
            is_the_first = share <= self._course.share  # and lacks other folds
            look = Trial(index, best.share if is_the_first else max(share, best.share), len(self._task.folds))
            looks += [look] if look != best else []
        return looks

    def _fits(self, trial: Trial) -> bool:
        """Return whether a trial fits into the rest of the budget with a final training.

        That is of the candidate itself, or of the best one so far with twice the steps.
        """
        finals = [self._estimates.of_final(trial.candidate, trial.share)]
        if self._results:
            tried, dice = self._dice()
            best = tried[int(dice.mean(axis=1).argmax())]
            finals.append(self._estimates.of_final(best, self._doubled(best)))
        return self._estimates.of_trial(trial) + max(finals) <= self._remaining

    def _doubled(self, index: int) -> float:
        """Return twice the fraction of the steps with which a candidate was cross-fitted, at most 1."""
        return min(1.0, 2 * self._best_of(index)[0].share)

    def _promising(self) -> list[int]:
        """Return the candidates that can still win, alone or in a mixture; the best first."""
        tried, dice = self._dice()
        best = dice[int(dice.mean(axis=1).argmax())]
        in_mixture = self._selected(tried, self._rest(tried)).best_weights
        near = [
            (best - row).mean() <= CLEARLY_WORSE * standard_error(best - row) or weight > 0
            for row, weight in zip(dice, in_mixture, strict=True)
        ]
        order = np.argsort(-dice.mean(axis=1), kind="stable")
        return [tried[i] for i in order if near[i]]

    def _dice(self) -> tuple[list[int], np.ndarray]:
        """Return the candidates that were tried, and their Dice, as it will be, on the images that all predicted."""
        tried = self._looked_at
        images = self._compared(tried)
        dice = np.array([[self._best_of(index)[1].score(image).dice for image in images] for index in tried])
        growth = self._growth_alone(tried, self._rest(tried))
        return tried, np.array([with_more_steps(*both) for both in zip(dice, growth, strict=True)])

    def _rest(self, indices: Sequence[int]) -> _Rest:
        """Return what there is for the final trainings now."""
        return _Rest(
            min(MOST_SECONDS, max(0.0, self._remaining)),
            {index: self._estimates.of_final(index, 1.0) for index in indices},
        )

    def _growth(self, chosen: Sequence[tuple[int, float]], rest: _Rest) -> float:
        """Return what the steps will change that the time allows the candidates of a mixture: see `selection.select`.

        It is 0 if that is not known of one of the candidates that there is time for.
        """
        if any(self._candidates[index].doubling is None for index in rest.needed):
            return 0.0
        return self._missing_steps(chosen, self._final_shares(chosen, rest)).mean

    def _growth_alone(self, indices: Sequence[int], rest: _Rest) -> list[float]:
        return [self._growth([(index, 1.0)], rest) for index in indices]

    def _chosen(self) -> Choice:
        finalists = self._finalists()
        if self._course.left is None:
            now = self._rest(finalists)
            self._decide(replace(self._course, left=now.left, needed=tuple(now.needed.values())))
        rest = self._rest_of_choice(finalists)
        selection = self._selected(finalists, rest)
        chosen = [(index, weight) for index, weight in zip(finalists, selection.weights, strict=True) if weight]
        shares = self._final_shares(chosen, rest)
        scores = self._mixed_scores(chosen)
        missing = self._missing_steps(chosen, shares)
        several = len(self._candidates) > 1
        return Choice(
            candidates=tuple(index for index, _ in chosen),
            weights=tuple(weight for _, weight in chosen),
            shares=shares,
            scores=scores,
            images=self._best_of(chosen[0][0])[1].images,
            expected=expectation(_measured(scores).tolist(), selection.candidates, missing),
            gain=selection.gain if several else None,
            standard_error=selection.standard_error if several else None,
            tried=self._tried(),
            skipped=self._skipped(),
        )

    def _rest_of_choice(self, finalists: Sequence[int]) -> _Rest:
        """Return what there was for the final trainings when the choice was made."""
        assert self._course.left is not None
        return _Rest(self._course.left, dict(zip(finalists, self._course.needed, strict=True)))

    def _missing_steps(self, chosen: Sequence[tuple[int, float]], shares: Sequence[float]) -> MoreSteps:
        """Return what the steps are worth that the final trainings have and the cross-fits had not."""
        mean, deviation, datasets = 0.0, 0.0, NONE_MISSING.datasets
        for (index, weight), share in zip(chosen, shares, strict=True):
            doubling = self._candidates[index].doubling
            if doubling is None:
                return NONE_MISSING
            # On held-out images of three train lists the steps of a fold were worth about as much as its own.
            in_all = share + self._share_before(index, share)
            doublings = math.log2(in_all / self._best_of(index)[0].share)
            datasets = min(datasets, doubling.datasets)
            mean += weight * doublings * doubling.mean
            deviation += weight * doublings * doubling.deviation
        return MoreSteps(mean, deviation, datasets)

    def _finalists(self) -> list[int]:
        """Return the candidates with predictions of all images, or all that were tried if there are none."""
        every = len(self._task.folds)
        complete = [index for index in self._looked_at if self._best_of(index)[0].folds == every]
        return complete or self._looked_at

    def _compared(self, indices: Sequence[int]) -> list[int]:
        """Return the images that all of some candidates have predicted, and that count in the means."""
        results = [self._best_of(index)[1] for index in indices]
        common = sorted(set.intersection(*(set(result.images) for result in results)))
        return [image for image in common if not results[0].score(image).blank] or common

    def _final_shares(self, chosen: Sequence[tuple[int, float]], rest: _Rest) -> tuple[float, ...]:
        """Return the fraction of its steps with which each candidate is trained: all, if the time allows it.

        Candidates that need less than their part of the time have all steps; the others share what they leave. It is
        never less than in the cross-fit that chose it, even if the budget is spent.
        """
        if len(self._candidates) == 1:
            return (1.0,) * len(chosen)
        waiting, left = sorted((index for index, _ in chosen), key=lambda index: rest.needed[index]), rest.left
        shares = dict.fromkeys(waiting, 1.0)
        while waiting and rest.needed[waiting[0]] <= left / len(waiting):
            left -= rest.needed[waiting.pop(0)]
        if waiting:
            shares |= dict.fromkeys(waiting, left / sum(rest.needed[index] for index in waiting))
        return tuple(max(shares[index], self._best_of(index)[0].share) for index, _ in chosen)

    def _selected(self, indices: Sequence[int], rest: _Rest) -> Selection:
        """Choose among some candidates by their best cross-fits, and by what the steps will change that are left."""
        results = [self._best_of(index)[1] for index in indices]
        images = []
        for number in self._compared(indices):
            sample, maps = self._task.pairs[number].load(), [result.probability(number) for result in results]
            images.append(Image.of(maps, sample.mask, sample.ignored_pixels))
        costs = [self._estimates.per_image(index) for index in indices] if len(indices) > 1 else [0.0]

        def growth(weights: np.ndarray) -> float:
            return self._growth([(index, float(w)) for index, w in zip(indices, weights, strict=True) if w], rest)

        return select(images, costs, growth)

    def _mixed_scores(self, chosen: Sequence[tuple[int, float]]) -> Scores:
        """Return the cross-fitted scores of a mixture, at full resolution."""
        results, weights = [self._best_of(index)[1] for index, _ in chosen], [weight for _, weight in chosen]
        if len(results) == 1:
            return results[0].scores
        images = []
        for number in results[0].images:
            sample = self._task.pairs[number].load()
            mask = decided(mixed_probability(results, weights, number))
            images.append(ImageScore.of(sample.name, mask, sample.mask, sample.ignored, self._task.classes))
        return Scores.of(images)

    def _best_of(self, index: int) -> tuple[Trial, CrossFit]:
        """Return the cross-fit of a candidate with the most folds, and of those the one with the most steps."""
        of_it = (trial for trial in self._results if trial.candidate == index)
        trial = max(of_it, key=lambda trial: (trial.folds, trial.share))
        return trial, self._results[trial]

    def _tried(self) -> tuple[Tried, ...]:
        finalists, growth = self._finalists() if self._course.left is not None else [], {}
        if finalists:
            growth = dict(zip(finalists, self._growth_alone(finalists, self._rest_of_choice(finalists)), strict=True))
        tried = []
        for index in self._looked_at:
            trial, best = self._best_of(index)
            seconds = sum(result.seconds for trial, result in self._results.items() if trial.candidate == index)
            compared = float(with_more_steps(best.scores.dice, growth[index])) if growth.get(index) else None
            tried.append(Tried(self._candidates[index].name, trial.share, best.scores, seconds, compared))
        return tuple(tried)

    def _skipped(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (candidate.name, f"about {self._estimates.of_trial(self._first_look_of(index)):.0f} s")
            for index, candidate in enumerate(self._candidates)
            if index not in self._looked_at
        )

    def _screening(self) -> tuple[float, int]:
        """Return the fraction of their steps and the number of folds with which all candidates are looked at first."""
        every = len(self._task.folds)
        if len(self._candidates) == 1 or self._task.seconds is None or every < 2:
            return LARGEST_SHARE, every
        half = -(-every // 2)
        # If even the most that the runner can gain would be too little, it is known without measuring how fast members
        # are with its number of threads, which takes a while.
        longest = LONGEST_SCREENING * self._task.seconds
        if self._look_at_all(SMALLEST_SHARE, half) > self._task.runner.most_gain * longest:
            return SMALLEST_SHARE, 1
        self._estimates.use_runner()
        for folds in (every, half):
            for share in map(float, np.linspace(LARGEST_SHARE, SMALLEST_SHARE, 16)):
                if self._look_at_all(share, folds) <= SCREENING * self._task.seconds:
                    return share, folds
        return SMALLEST_SHARE, half if self._look_at_all(SMALLEST_SHARE, half) <= longest else 1

    def _look_at_all(self, share: float, folds: int) -> float:
        """Return the duration of a first look at all candidates, seconds."""
        looks = (self._first_look(index, share, folds) for index in range(len(self._candidates)))
        return sum(map(self._estimates.of_trial, looks))

    def _first_look(self, index: int, share: float, folds: int) -> Trial:
        """Return the trial of a candidate in the first look, with this fraction of its steps or its `fewest_steps`.

        What needs fewer steps than others to show what it will be has so much shorter a look.
        """
        candidate = self._candidates[index]
        trainer, fewest = candidate.plan.trainer, candidate.fewest_steps
        steps = trainer.settings.recipe.steps if isinstance(trainer, SamTrainer) else fewest
        return Trial(index, min(1.0, max(share * fewest / FEWEST_STEPS, fewest / steps)), folds)

    def _first_look_of(self, index: int) -> Trial:
        return self._first_look(index, self._course.share, self._course.folds)

    def _run(self, trials: Sequence[Trial], show: Callable[[str], None]) -> None:
        """Run trials, at the same time if the runner does."""
        parts = {replace(trial, folds=self._course.folds) for trial in trials if trial.folds > self._course.folds}
        trials = [trial for trial in trials if trial not in parts]
        cross_fits = {trial: self._cross_fitting(trial) for trial in trials}
        is_new = all(len(one.missing) == self._estimates.folds_left(trial) for trial, one in cross_fits.items())
        runner = self._estimates.runner
        if not self._is_started and any(one.missing for one in cross_fits.values()):
            runner.start()
            self._is_started = True
        began = time.perf_counter()
        runner.run(list(cross_fits.values()), show)
        counts = self._task.seconds is not None and is_new
        self._estimates.finished(trials, time.perf_counter() - began if counts else None)
        for part in parts:
            self._results.pop(part, None)
        self._results |= {trial: cross_fitting.result() for trial, cross_fitting in cross_fits.items()}

    def _cross_fitting(self, trial: Trial) -> CrossFitting:
        candidate, task = self._candidates[trial.candidate], self._task
        return CrossFitting(
            name=candidate.name,
            trainer=self._trainer(candidate, trial.share),
            pairs=task.pairs,
            folds=task.folds,
            seed=task.seed,
            folder=task.folder / f"member-{trial.candidate}-{round(1000 * trial.share)}",
            device=task.device,
            held_out=partial(HeldOut, task.bank, candidate.backbone.sha256 if candidate.backbone else ""),
            first=trial.folds,
        )

    def _trainer(self, candidate: Candidate, share: float) -> Trainer:
        """Return the trainer of a candidate for a fraction of its steps; it uses the shared bank."""
        trainer = candidate.plan.trainer
        if not isinstance(trainer, SamTrainer):
            return trainer
        settings = replace(trainer.settings, recipe=shortened(trainer.settings.recipe, share))
        # One scale for all folds, so that they share the encoded images.
        method, image_size = settings.method, trainer.backbone.sam.image_encoder.img_size
        scale = scale_of(method.tiles, method.scale, self._task.pairs, image_size)
        return replace(trainer, settings=settings, bank=self._task.bank, scale=scale, classes=self._task.classes)

    def _decide(self, course: _Course) -> None:
        self._course = course
        write_text(self._task.folder / PLAN_FILE, to_sealed_json(course, indent=2))

    def _table(self) -> Table:
        """Return a table of the members that were tried so far."""
        table = table_of("member", "steps", "images", "Dice")
        for one in self._tried():
            steps, images = f"{100 * one.share:.0f} %", str(len(one.scores.images))
            table.add_row(escape(one.name), steps, images, f"{100 * one.scores.dice:.1f}")
        return table

    @contextmanager
    def _bar(self) -> Iterator[Callable[..., None]]:
        """Show the seconds of the budget that are spent, and what is going on."""
        with self._terminal.bar("Choosing") as update:
            total = self._task.seconds

            def show(note: str) -> None:
                spent = round(self._before + self._elapsed)
                update(spent, round(total) if total else 0, note, self._table() if self._results else None)

            yield show


def _key(candidates: Sequence[Candidate], task: Task) -> str:
    """Return the identifier of a choice: results in the folder are used again only if it is the same."""
    return json_sha256(
        {
            "candidates": [
                [one.name, one.plan.config, one.backbone.sha256 if one.backbone else None] for one in candidates
            ],
            "pairs": [pair.digest for pair in task.pairs],
            "train": [pair.digest for pair in task.train],
            "folds": task.folds,
            "seed": task.seed,
            "classes": task.classes,
            "version": version("ptsam-auto"),
        }
    )


def _earlier_course(folder: Path, key: str) -> _Course | None:
    """Return what an interrupted call has decided. If it was another choice, delete its results and return None.

    The bank is kept, because its files are named by their contents.
    """
    try:
        earlier = read_json(_Course, folder / PLAN_FILE)
    except (FileNotFoundError, RecordError):
        earlier = None
    if earlier is not None and earlier.key == key:
        return earlier
    for results in (*folder.glob("member-*"), *folder.glob("final-*")):
        shutil.rmtree(results)
    (folder / PLAN_FILE).unlink(missing_ok=True)
    return None


def _main(choice: Choice) -> int:
    """Return the index of the chosen candidate with the largest weight."""
    return choice.candidates[int(np.argmax(choice.weights))]


def _measured(scores: Scores) -> np.ndarray:
    """Return the Dice of the images that count."""
    return np.array([image.dice for image in scores.measured])
