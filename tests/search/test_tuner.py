"""Trials on Ray: side by side without collisions, stopped when they are bad, begun anew when their worker dies."""

import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ptsam_auto.errors import ClusterError, OutputError
from ptsam_auto.experiment.journal import Journal, read
from ptsam_auto.search import tuner
from ptsam_auto.search.record import Event, Measured, Started, trials_of
from ptsam_auto.search.space import Choice, Halving, Resources, settings_of
from ptsam_auto.search.trial import run_trial
from ptsam_auto.search.tuner import ROUNDING_TOLERANCE, _scheduler, run_trials
from tests.search.toys import QUICK, ended, folds, space, task
from tests.toys import sample

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
RATES = "recipe.learning_rate"


def run(folder, toy, searched, **rest):
    of = rest.pop("of", None)
    shared = task(folder, toy, of=of, shares=searched.rungs)
    past = trials_of(events(folder))
    with Journal(folder / "journal.jsonl") as journal:
        bases = {name: {"decoder": {}} for name in searched.backbone}
        tasks = dict.fromkeys(searched.backbone, shared)
        run_trials(searched, bases, tasks, 0, past, journal, **rest)
    return trials_of(events(folder))


def events(folder):
    return read(folder / "journal.jsonl", Event)[0]


def listed(*rates, **rest):
    """These learning rates, each to its end."""
    values = {"search": {RATES: Choice(rates)}, "first": tuple({RATES: rate} for rate in rates), "stop_early": None}
    return space(**{**values, "trials": len(rates), **rest})


@pytest.mark.slow
def test_trials_side_by_side_do_not_collide(ray, toy, tmp_path):
    trials = run(tmp_path, toy, space(trials=6), at_once=2)
    assert [each.number for each in trials] == list(range(6))
    assert {each.state for each in trials} <= {"finished", "stopped"}
    assert all(each.rungs[-1].share == 1 for each in trials if each.state == "finished")
    # Two trials began at once, and shared out what had to be encoded: 4 folds of 3 images x 2 views, and 2 held out.
    assert sum(each.encoded for each in trials) == 4 * (3 * 2 + 2)
    assert all(each.encoded == 0 for each in trials[2:])
    starts = [event.trial for event in events(tmp_path) if isinstance(event, Started)]
    assert starts == list(range(6))
    assert not (tmp_path / "tune").exists()
    assert not any((tmp_path / "trials").iterdir())


@pytest.mark.slow
def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(ray, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner, "RETRIES", 1)
    searched = space(
        search={RATES: Choice((0.05, 1e30))}, first=({RATES: 1e30}, {RATES: 0.05}), trials=2, stop_early=None
    )
    hot, fine = trials = run(tmp_path, toy, searched, at_once=1)
    assert hot.state == "failed"
    assert hot.error.startswith("The loss is nan at step ")
    assert (fine.state, len(fine.rungs)) == ("finished", 1)
    monkeypatch.setattr(tuner.tune, "Tuner", None)  # any use would fail
    assert run(tmp_path, toy, searched) == trials, "what has ended, also what failed for good, is not run again"


@pytest.mark.slow
def test_a_trial_that_needs_too_much_memory_is_recorded_and_the_search_goes_on(ray, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner, "RETRIES", 1)
    marker = tmp_path / "marker"
    marker.mkdir()

    def load_with(pair):
        def load():
            if len(list(marker.iterdir())) < 2:  # the first trial and its repetition
                (marker / str(time.time_ns())).touch()
                np.empty(10**16, np.uint8)
            return sample(int(pair.name.removeprefix("disc")))

        return load

    large, fine = run(tmp_path, toy, listed(0.05, 0.04), of=folds(load_with)[:2], at_once=1)
    assert large.state == "failed"
    assert "Unable to allocate" in large.error
    assert (fine.state, len(fine.rungs)) == ("finished", 1)


@pytest.mark.slow
def test_a_disk_that_is_full_fails_no_trial_for_good(ray, toy, tmp_path):
    """When there is space again, the same command goes on with the same trial."""
    marker = tmp_path / "full"
    marker.touch()

    def load_with(pair):
        def load():
            if marker.exists():
                raise OutputError("The disk is full.")
            return sample(int(pair.name.removeprefix("disc")))

        return load

    searched, of = listed(0.05, 0.04), folds(load_with)[:2]
    with pytest.raises(OutputError, match="The disk is full"):
        run(tmp_path / "search", toy, searched, of=of, at_once=1)
    (started,) = trials_of(events(tmp_path / "search"))
    assert started.state == "running"
    marker.unlink()
    assert [trial.state for trial in run(tmp_path / "search", toy, searched, of=of, at_once=1)] == ["finished"] * 2


def dies_once(marker, after):
    """Images of which one kills the process that loads it, the first time that `after` others were loaded."""

    def load_with(pair):
        def load():
            with (marker / "loads").open("a") as file:
                file.write(".")
            if (marker / "loads").stat().st_size > after and not (marker / "killed").exists():
                (marker / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return sample(int(pair.name.removeprefix("disc")))

        return load

    return load_with


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on(ray, toy, tmp_path):
    """Fresh views load images at every step, so the death is in the middle of the training."""
    searched = listed(0.05, fixed={**QUICK, "recipe.views": 0}, stop_early=Halving(0.25, 2))
    undisturbed = task(tmp_path / "undisturbed", toy, of=folds()[:2])
    whole = list(run_trial(0, settings_of({}, searched, {RATES: 0.05}), undisturbed))
    marker = tmp_path / "marker"
    marker.mkdir()
    doomed = folds(dies_once(marker, after=26))[:2]
    (found,) = run(tmp_path / "killed", toy, searched, of=doomed)
    assert (marker / "killed").exists()
    assert found.state == "finished"
    assert [rung.epoch for rung in found.rungs] == [1, 2, 4]
    assert [rung.folds for rung in found.rungs] == [pytest.approx(report.rung.folds, abs=1e-6) for report in whole]
    epochs = [event.rung.epoch for event in events(tmp_path / "killed") if isinstance(event, Measured)]
    assert epochs[0] == 1
    assert epochs[-1] == 4


def test_a_trial_that_fits_nowhere_is_said_at_once(ray, toy, tmp_path):
    with pytest.raises(ClusterError) as error:
        run(tmp_path, toy, space(resources=Resources(cpu=1, gpu=1)))
    assert str(error.value) == (
        "A trial needs 1 CPU and 1 GPU; the Ray cluster has 2 CPU and 0 GPU.\n"
        "Use smaller numbers for resources in toy, or connect to a larger cluster: --address."
    )


def test_bad_trials_are_stopped_also_by_what_earlier_runs_found():
    def decision(past, dice):
        scheduler = _scheduler(space(), past)
        new = SimpleNamespace(trial_id="new")
        scheduler.on_trial_add(None, new)
        return scheduler.on_trial_result(None, new, {"share": 0.5 + ROUNDING_TOLERANCE, "dice": dice})

    past = [ended(number, (0.5 + number / 10,), state="stopped") for number in range(4)]
    assert decision(past, 0.4) == "STOP"
    assert decision(past, 0.9) == "CONTINUE"
    assert decision([], 0.4) == "CONTINUE"
