"""Trials on Ray: Tune runs them side by side, stops the bad ones (ASHA) and starts those anew whose worker died.

Ray's own checkpoints and restore are not used: all that a search must remember is in its journal and its trials'
resume files, which a new run reads. Nothing is unpickled from a folder.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ptsam_auto.errors import PtsamError, SearchError
from ptsam_auto.search.propose import Proposals
from ptsam_auto.search.records import Trial, apply, trials_of
from ptsam_auto.search.space import Space, settings_of
from ptsam_auto.search.trial import Task, trial
from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Journal
from ptsam_auto.training.settings import Settings

# Before Ray is imported; what the user has set stands.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

RETRIES = 2  # of a trial whose worker died; an error of the user's making is not tried again
STARTS = 3  # attempts at starting Ray, which waits 30 s for itself; a busy machine takes longer
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
        SearchError: no room for a single trial.
    """
    past = trials_of(journal.read(journal_.path)[0])
    if not any(each.state == "running" for each in past) and len(past) >= space.trials:
        return
    ours = not ray.is_initialized()
    if ours:
        _start(address)
    scratch = task.folder / "tune"
    try:
        room = _room(space)
        conductor = _Conductor(space, base, task, seed, journal_, past, min(room, at_once or room), progress)
        wants = {"CPU": space.resources.cpu, "GPU": space.resources.gpu}
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable, task=task), wants),
            tune_config=tune.TuneConfig(
                num_samples=conductor.left,
                search_alg=conductor.searcher,
                scheduler=_scheduler(space, past),
                # A worker keeps torch and the backbone from trial to trial.
                reuse_actors=True,
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
        if ours:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _start(address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = {"address": address}
    if not address:
        # On the loopback interface only, with the cores that this process may use.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        where = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        where["object_store_memory"] = 200 * 2**20
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:  # Ray has no narrower type for it
            ray.shutdown()
            if attempt == STARTS or address:
                whose = f"No Ray cluster answers at {address}" if address else "Ray did not start on this machine"
                raise SearchError(
                    f"{whose}: {str(error).splitlines()[0]}\nNothing is lost: run the command again."
                ) from None


def _room(space: Space) -> int:
    """How many trials fit at once."""
    has = ray.cluster_resources()
    wants = {"CPU": space.resources.cpu, "GPU": space.resources.gpu}
    # Ray counts in ten-thousandths.
    room = min(int(has.get(kind, 0.0) / want + LATE) for kind, want in wants.items() if want)
    if room < 1:
        wanted, there = (f"{each.get('CPU', 0):g} CPU and {each.get('GPU', 0):g} GPU" for each in (wants, has))
        raise SearchError(
            f"A trial wants {wanted}; Ray has {there}.\n"
            f"Lower resources in the space {space.name}, or give more machines: --address."
        )
    return room


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
    """What a worker runs. What a user's setting has caused is an answer, not an accident: it is not tried again."""
    settings = Settings.from_paths(config["settings"])
    try:
        for report in trial(config["number"], settings, task):
            dice = sum(report["cells"].values()) / len(report["cells"])
            tune.report({"dice": dice, **report, "share": report["share"] + LATE, "rung": report})
    except PtsamError as error:
        tune.report({"dice": -1.0, "share": 0.0, "failed": str(error)})


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
        if "failed" in result:
            self._failed[number] = result["failed"]
        else:
            self._write("rung", number, **result["rung"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Trained to its end, or stopped on the way."""
        number = self._numbers.pop(trial.trial_id)
        if number in self._failed:
            self._end(number, "failed", self._failed.pop(number))
        else:
            self._end(number)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Failed for good; the search goes on."""
        lines = str(trial.get_error()).strip().splitlines()
        self._end(self._numbers.pop(trial.trial_id), "failed", lines[-1] if lines else "the worker died")

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
