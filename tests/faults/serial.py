"""Runs the trials of a search and the trainings of a comparison one after another in this process, without Ray.

Starting Ray takes seconds, and its processes cannot be forked. What writes files is the same: the recorder of the
tuner, the proposals, the trials, the journal. The campaign also kills searches that run on Ray.
"""

from ptsam_auto.compare import runner
from ptsam_auto.distributed.ray_api import Searcher
from ptsam_auto.errors import OutputError
from ptsam_auto.search import tuner


class _TuneTrial:
    def __init__(self, trial_id):
        self.trial_id, self.error_file = trial_id, None


def run_trials(space, bases, tasks, seed, past, journal, *, address=None, at_once=None, progress=lambda trials: None):
    """See `tuner.run_trials`."""
    if not any(earlier.state == "running" for earlier in past) and len(past) >= space.trials:
        return
    recorder = tuner._TrialRecorder(space, bases, tasks, seed, journal, past, 1, progress)
    for number in range(recorder.remaining):
        config = recorder.searcher.suggest(f"{number}")
        if config is None or config == Searcher.FINISHED:
            break
        trial = _TuneTrial(f"{number}")
        for report in tuner._reports(config, tasks[config["backbone"]], tuner.SINGLE_WORKER):
            recorder.on_trial_result(0, [], trial, report)
        recorder.on_trial_complete(0, [], trial)
    if recorder.stopped is not None:
        raise OutputError(recorder.stopped)


def run_trainings(trainings, workspace, needs, journal, *, address=None, at_once=None, progress=lambda event: None):
    """See `runner.run_trainings`."""
    for training in trainings:
        event = runner._event(training, runner._train(training, workspace))
        journal.write(event)
        progress(event)


def use(patch=setattr):
    """Let the commands use these instead of Ray."""
    patch(tuner, "run_trials", run_trials)
    patch(runner, "run_trainings", run_trainings)
