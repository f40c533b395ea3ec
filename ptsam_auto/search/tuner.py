"""Trials on Ray: Tune runs them side by side, stops the bad ones (ASHA) and starts those anew whose worker died.

Ray's own checkpoints and restore are not used: all that a search must remember is in its journal and its trials'
resume files, which a new run reads. Nothing is unpickled from a folder.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ptsam_auto.distributed import cluster
from ptsam_auto.errors import PtsamError
from ptsam_auto.search.propose import Proposals
from ptsam_auto.search.records import Trial, apply, trials_of
from ptsam_auto.search.space import Resources, Space, settings_of
from ptsam_auto.search.trial import Task, trial
from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Journal
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import ALONE, Team

# After `cluster`, which sets Ray's environment.
import ray.train  # isort: skip
from ray import tune  # isort: skip
from ray.train.torch import TorchTrainer, get_device  # isort: skip
from ray.tune.integration.ray_train import TuneReportCallback  # isort: skip
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # isort: skip
from ray.tune.search import Searcher  # isort: skip
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group  # isort: skip

RETRIES = 2  # of a trial whose worker died; an error of the user's making is not tried again
LATE = 1e-9  # ASHA multiplies its rungs out; a share must not fall short of one by a rounding


def run_trials(
    space: Space,
    base: dict[str, Any],
    task: Task,
    seed: int,
    journal_: Journal,
    *,
    address: str | None = None,
    at_once: int | None = None,
    progress: Callable[[list[Trial]], None] = lambda trials: None,
) -> None:
    """Run whatever is left of a search; every event is in the journal before anything depends on it.

    Args:
        space: what is tried.
        base: the defaults under it, by field path.
        task: what all trials share.
        seed: of the proposals.
        journal_: what earlier runs of the search wrote, and where this one writes.
        address: of a running Ray cluster; by default Ray starts on this machine and ends with the search.
        at_once: trials side by side; by default as many as the machine has room for.
        progress: called with all trials after each event.

    Raises:
        ClusterError: Ray is not to be had, or has no room for a single trial.
    """
    past = trials_of(journal.read(journal_.path)[0])
    if not any(each.state == "running" for each in past) and len(past) >= space.trials:
        return
    scratch = task.folder / "tune"
    each = space.resources
    wants = {"CPU": each.cpu * each.workers, "GPU": each.gpu * each.workers}
    alone = tune.with_resources(tune.with_parameters(_trainable, task=task), wants)
    # The workers of a trial have places of their own; what starts them needs none, which Tune has no word for.
    together = tune.with_resources(tune.with_parameters(_together, task=task, resources=each), {"CPU": 0, "memory": 1})
    with cluster.running(address, dashboard=each.workers > 1):
        advice = f"Lower resources in the space {space.name}, or give more machines: --address."
        room = cluster.room("A trial wants", wants, advice)
        conductor = _Conductor(space, base, task, seed, journal_, past, min(room, at_once or room), progress)
        try:
            tune.Tuner(
                alone if each.workers == 1 else together,
                tune_config=tune.TuneConfig(
                    num_samples=conductor.left,
                    search_alg=conductor.searcher,
                    scheduler=_scheduler(space, past),
                    # A worker keeps torch and the backbone from trial to trial. What starts a team has neither, and
                    # Tune gives up a trial whose actor is still busy with the end of the one before.
                    reuse_actors=each.workers == 1,
                    # By default a folder is named after all settings.
                    trial_dirname_creator=lambda each: each.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=f"{os.getpid()}",
                    storage_path=str(scratch),
                    callbacks=[conductor],
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    verbose=0,
                ),
            ).fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _scheduler(space: Space, past: list[Trial]) -> TrialScheduler:
    """ASHA, told of everything that earlier runs of the search measured."""
    if space.stop_early is None:
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr="share",
        metric="dice",
        mode="max",
        max_t=1,
        grace_period=space.stop_early.first,
        reduction_factor=space.stop_early.factor,
    )
    for each in past:
        # The scheduler knows a trial by its id only. A trial that goes on gets a new one.
        if each.state in ("finished", "stopped"):
            then = SimpleNamespace(trial_id=f"earlier-{each.number}")
            scheduler.on_trial_add(None, then)
            for rung in each.rungs:
                scheduler.on_trial_result(None, then, {"share": rung.share + LATE, "dice": rung.dice})
    return scheduler


def _trainable(config: dict[str, Any], task: Task) -> None:
    """A trial by one worker."""
    for news in _news(config, task, ALONE):
        tune.report(news)


def _together(config: dict[str, Any], task: Task, resources: Resources) -> None:
    """A trial by several workers, on Ray Train. Where one dies, Tune begins the trial again, and it goes on."""
    wants = {"CPU": resources.cpu, "GPU": resources.gpu}
    TorchTrainer(
        _share,
        train_loop_config={"config": config, "task": task},
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu > 0,
            resources_per_worker={kind: want for kind, want in wants.items() if want},
        ),
        run_config=ray.train.RunConfig(
            name=f"trial-{tune.get_context().get_trial_id()}-{os.getpid()}",
            storage_path=str(task.folder / "tune" / "train"),
            callbacks=[TuneReportCallback()],
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    ).fit()


def _share(given: dict[str, Any]) -> None:
    """What each of a trial's workers runs; they tell the same, and the first one is listened to."""
    context = ray.train.get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    places = get_current_placement_group()
    for news in _news(given["config"], replace(given["task"], device=str(get_device())), team):
        ray.train.report({**news, "places": places})


def _news(config: dict[str, Any], task: Task, team: Team) -> Iterator[dict[str, Any]]:
    """What Tune is told. What a user's setting has caused is an answer, not an accident: it is not tried again."""
    settings = Settings.from_paths(config["settings"])
    try:
        for report in trial(config["number"], settings, task, team):
            dice = sum(report["cells"].values()) / len(report["cells"])
            yield {"dice": dice, **report, "share": report["share"] + LATE, "rung": report}
    except PtsamError as error:
        yield {"dice": -1.0, "share": 0.0, "failed": str(error)}


class _Conductor(tune.Callback):
    """Between Tune and the journal: what is tried next, what came of it.

    All of it happens in the driver's one thread, so events have an order and the journal one writer.
    """

    def __init__(
        self,
        space: Space,
        base: dict[str, Any],
        task: Task,
        seed: int,
        journal_: Journal,
        past: list[Trial],
        at_once: int,
        progress: Callable[[list[Trial]], None],
    ) -> None:
        self._space, self._base, self._task = space, base, task
        self._journal, self._at_once, self._progress = journal_, at_once, progress
        self._proposals = Proposals(space, seed, past)
        self._again = [each for each in past if each.state == "running"]
        self._next = len(past)
        self._trials = {each.number: each for each in past}
        self._numbers: dict[str, int] = {}  # Tune's id to ours, of trials under way
        self._places: dict[str, PlacementGroup] = {}  # that the team of a trial occupies
        self._failed: dict[int, str] = {}
        self.left = len(self._again) + max(0, space.trials - len(past))
        self.searcher = _Searcher(self._begin)
        progress(past)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it is given; nobody reads it."""
        return {}

    def _begin(self, trial_id: str) -> dict[str, Any] | None:
        if len(self._numbers) >= self._at_once:
            return None
        if self._again:
            begun = self._again.pop(0)
            self._numbers[trial_id] = begun.number
            return {"number": begun.number, "settings": begun.settings}
        number = self._next
        configuration = self._proposals.propose(number)
        settings = settings_of(self._base, self._space, configuration).as_paths()
        self._write("started", number, configuration=configuration, settings=settings)
        self._next += 1
        self._numbers[trial_id] = number
        return {"number": number, "settings": settings}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ANN401, ARG002
        """A rung, or the reason why there will be none."""
        number = self._numbers[trial.trial_id]
        if "places" in result:
            self._places[trial.trial_id] = result["places"]
        if "failed" in result:
            self._failed[number] = result["failed"]
        else:
            self._write("rung", number, **result["rung"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Trained to its end, or stopped on the way."""
        self._free(trial)
        number = self._numbers.pop(trial.trial_id)
        if number in self._failed:
            self._end(number, "failed", self._failed.pop(number))
        else:
            self._end(number)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Failed for good; the search goes on."""
        self._free(trial)
        # Tune's own `get_error` looks where the file is copied to later.
        noted = Path(trial.error_file) if trial.error_file else None
        lines = noted.read_text().strip().splitlines() if noted and noted.exists() else []
        self._end(self._numbers.pop(trial.trial_id), "failed", lines[-1] if lines else "the worker died")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Its worker died, and it begins again."""
        self._free(trial)

    def _free(self, trial: Any) -> None:  # noqa: ANN401 - Tune's
        """Give back what a team occupied; Tune kills what would have, and Ray's own cleaner errs beside another Ray."""
        places = self._places.pop(trial.trial_id, None)
        if places is not None:
            remove_placement_group(places)

    def _end(self, number: int, state: str | None = None, error: str | None = None) -> None:
        ended = self._trials[number]
        if state is None:
            state = "finished" if ended.rungs and ended.rungs[-1].share >= 1 else "stopped"
        self._write(state, number, **({"error": error} if error else {}))
        self._proposals.told(ended)
        shutil.rmtree(self._task.resume_folder(number), ignore_errors=True)

    def _write(self, kind: str, number: int, **values: Any) -> None:  # noqa: ANN401 - JSON's
        event = {"event": kind, "trial": number, "time": time.time(), **values}
        self._journal.write(event)
        apply(event, self._trials)
        self._progress(list(self._trials.values()))


class _Searcher(Searcher):
    """Tune's way of asking what to try; ends are told by the callback, which knows why a trial ended."""

    def __init__(self, begin: Callable[[str], dict[str, Any] | None]) -> None:
        super().__init__(metric="dice", mode="max")
        self._begin = begin

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """A configuration, or None while there is no room."""
        return self._begin(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See `_Conductor`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal has it."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a search goes on from its journal."""
