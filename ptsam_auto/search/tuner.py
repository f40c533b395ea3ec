"""Runs trials in parallel with Ray Tune: bad trials are stopped early (ASHA), and failed workers are restarted.

The checkpoints and the restore function of Ray are not used: the complete state of a search is in its journal and in
the checkpoints of its trials, which the next call reads. Nothing is unpickled from a folder.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.ray_api import (
    ASHAScheduler,
    FIFOScheduler,
    PlacementGroup,
    Searcher,
    TorchTrainer,
    TrialScheduler,
    TuneReportCallback,
    get_current_placement_group,
    get_device,
    ray,
    remove_placement_group,
    tune,
)
from ptsam_auto.errors import OutputError, PtsamError
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.search.proposals import Proposals
from ptsam_auto.search.record import Ended, Event, Measured, Started, Trial, apply
from ptsam_auto.search.space import BACKBONE, Resources, Space, settings_of
from ptsam_auto.search.trial import Task, run_trial
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup

Bases = Mapping[str, Mapping[str, Mapping[str, Any]]]  # Default settings by backbone, adaptation and field path.

RETRIES = 2  # Number of times that a trial is repeated after a worker failed; errors in the settings are not repeated.
ROUNDING_TOLERANCE = 1e-9  # ASHA computes its rungs by multiplication; a fraction must not be too small by rounding.


def run_trials(
    space: Space,
    bases: Bases,
    tasks: Mapping[str, Task],
    seed: int,
    past: list[Trial],
    journal: Journal,
    *,
    address: str | None = None,
    at_once: int | None = None,
    progress: Callable[[list[Trial]], None] = lambda trials: None,
) -> None:
    """Run the remaining trials. Every event is written to the journal first.

    Args:
        space: The search space.
        bases: Default settings by backbone, adaptation and field path.
        tasks: Data that all trials on one backbone share, by backbone; the folder is the same for all.
        seed: Random seed for the proposals.
        past: Trials of earlier calls, by number.
        journal: Journal for the events.
        address: Address of a running Ray cluster. Default: Ray is started on this machine and ends with the search.
        at_once: Maximum number of parallel trials. Default: as many as the cluster has capacity for.
        progress: Function that is called with all trials after each event.

    Raises:
        ClusterError: Ray does not start or answer, a trial needs more than the cluster has, or Ray was killed.
        OutputError: The disk is full or does not work. No further trials were started.
    """
    if not any(earlier.state == "running" for earlier in past) and len(past) >= space.trials:
        return
    scratch = tasks[space.backbone[0]].workspace.folder / "tune"
    resources = space.resources
    needs = {"CPU": resources.cpu * resources.workers, "GPU": resources.gpu * resources.workers}
    if resources.workers == 1:
        trainable = tune.with_resources(tune.with_parameters(_one_worker, tasks=tasks), needs)
    else:
        # The workers reserve their own resources. The function that starts them needs none, but Tune does not accept
        # an empty request.
        trainable = tune.with_resources(
            tune.with_parameters(_several_workers, tasks=tasks, resources=resources), {"CPU": 0, "memory": 1}
        )
    with cluster.ray_session(address, dashboard=resources.workers > 1):
        advice = f"Use smaller numbers for resources in {space.name}, or connect to a larger cluster: --address."
        capacity = cluster.capacity("A trial needs", needs, advice)
        most_parallel = min(capacity, at_once or capacity)
        recorder = _TrialRecorder(space, bases, tasks, seed, journal, past, most_parallel, progress)
        try:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    num_samples=recorder.remaining,
                    search_alg=recorder.searcher,
                    scheduler=_scheduler(space, past),
                    # Reuse the process, so that torch and the backbone stay loaded. Not with several workers: the
                    # process that starts them has neither, and Tune fails a trial if its actor is still finishing the
                    # previous one.
                    reuse_actors=resources.workers == 1,
                    # By default the name of a folder contains all settings.
                    trial_dirname_creator=lambda tune_trial: tune_trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=f"{os.getpid()}",
                    storage_path=str(scratch),
                    callbacks=[recorder],
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    verbose=0,
                ),
            ).fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if recorder.stopped is not None:
            raise OutputError(recorder.stopped)


def _scheduler(space: Space, past: list[Trial]) -> TrialScheduler:
    """Return the ASHA scheduler, with the results of earlier calls added."""
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
    for trial in past:
        # The scheduler identifies a trial by its id only. A trial that continues gets a new id.
        if trial.state in ("finished", "stopped"):
            earlier_trial = SimpleNamespace(trial_id=f"earlier-{trial.number}")
            scheduler.on_trial_add(None, earlier_trial)
            for rung in trial.rungs:
                scheduler.on_trial_result(
                    None, earlier_trial, {"share": rung.share + ROUNDING_TOLERANCE, "dice": rung.dice}
                )
    return scheduler


def _one_worker(config: dict[str, Any], tasks: Mapping[str, Task]) -> None:
    """Run a trial with one worker."""
    for report in _reports(config, tasks[config[BACKBONE]], SINGLE_WORKER):
        tune.report(report)


def _several_workers(config: dict[str, Any], tasks: Mapping[str, Task], resources: Resources) -> None:
    """Run a trial with several workers (Ray Train). After a failure Tune starts it again, and it continues."""
    task = tasks[config[BACKBONE]]
    needs = {"CPU": resources.cpu, "GPU": resources.gpu}
    TorchTrainer(
        _group_worker,
        train_loop_config={"config": config, "task": task},
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu > 0,
            resources_per_worker={kind: need for kind, need in needs.items() if need},
        ),
        run_config=ray.train.RunConfig(
            name=f"trial-{tune.get_context().get_trial_id()}-{os.getpid()}",
            storage_path=str(task.workspace.folder / "tune" / "train"),
            callbacks=[TuneReportCallback()],
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    ).fit()


def _group_worker(arguments: dict[str, Any]) -> None:
    """Run a trial in one of several workers. All report the same values; Ray uses those of worker 0."""
    context = ray.train.get_context()
    group = WorkerGroup(context.get_world_rank(), context.get_world_size())
    placement = get_current_placement_group()
    task: Task = arguments["task"]
    task_on_device = replace(task, workspace=replace(task.workspace, device=str(get_device())))
    for report in _reports(arguments["config"], task_on_device, group):
        ray.train.report({**report, "placement": placement})


def _reports(config: dict[str, Any], task: Task, group: WorkerGroup) -> Iterator[dict[str, Any]]:
    """Yield the reports for Tune: score and fraction for the scheduler, and the full report for the journal."""
    settings = Settings.from_paths(config["settings"])
    try:
        for report in run_trial(config["number"], settings, task, group):
            yield {"dice": report.rung.dice, "share": report.rung.share + ROUNDING_TOLERANCE, "report": report}
    except OutputError as error:
        # The disk is full. It is no fault of this trial, which continues when the same command is run again.
        yield {"dice": -1.0, "share": 0.0, "stopped": str(error)}
    except PtsamError as error:
        # The error is caused by a setting, so a retry would fail again.
        yield {"dice": -1.0, "share": 0.0, "failed": str(error)}


class _TrialRecorder(tune.Callback):
    """Callback of Tune that proposes the next configuration and writes the events to the journal.

    It runs in a single thread of the driver, so the events have an order and the journal has one writer.

    Attributes:
        remaining: Number of trials to run.
        searcher: Adapter that Tune asks for the next configuration.
        stopped: Message of an error that no trial has caused, such as a full disk, or None. No more trials are started.
    """

    def __init__(
        self,
        space: Space,
        bases: Bases,
        tasks: Mapping[str, Task],
        seed: int,
        journal: Journal,
        past: list[Trial],
        at_once: int,
        progress: Callable[[list[Trial]], None],
    ) -> None:
        self._space, self._bases, self._tasks = space, bases, tasks
        self._journal, self._at_once, self._progress = journal, at_once, progress
        self._proposals = Proposals(space, seed, past)
        self._to_resume = [trial for trial in past if trial.state == "running"]
        self._next_number = len(past)
        self._trials = {trial.number: trial for trial in past}
        self._numbers: dict[str, int] = {}  # Number of each running trial by Tune's id.
        self._placements: dict[str, PlacementGroup] = {}  # Resources of the workers of a trial, by Tune's id.
        self._failed: dict[int, str] = {}
        self.stopped: str | None = None
        self._checked = time.monotonic()
        self.remaining = len(self._to_resume) + max(0, space.trials - len(past))
        self.searcher = _Searcher(self._begin)
        progress(past)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing. Tune pickles its callbacks, but nothing reads them."""
        return {}

    def _begin(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stopped is not None:
            return Searcher.FINISHED
        if len(self._numbers) >= self._at_once:
            return None
        if self._to_resume:
            started = self._to_resume.pop(0)
            self._numbers[trial_id] = started.number
            backbone = self._space.backbone_of(started.configuration)
            return {"number": started.number, "settings": started.settings, BACKBONE: backbone}
        number = self._next_number
        configuration = self._proposals.propose(number)
        backbone = self._space.backbone_of(configuration)
        base = self._bases[backbone][self._space.adapt_of(configuration)]
        settings = settings_of(base, self._space, configuration).as_paths()
        self._write(Started(number, time.time(), configuration, settings))
        self._next_number += 1
        self._numbers[trial_id] = number
        return {"number": number, "settings": settings, BACKBONE: backbone}

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ANN401 - Tune's
        """Check from time to time that Ray has a machine left; Tune would wait for one for ever."""
        if time.monotonic() - self._checked > cluster.POLL_SECONDS:
            cluster.check_alive()
            self._checked = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
        """Record a rung or the error message of a trial."""
        number = self._numbers[trial.trial_id]
        if "placement" in result:
            self._placements[trial.trial_id] = result["placement"]
        if "stopped" in result:
            self.stopped = result["stopped"]
        elif self.stopped is not None:
            pass
        elif "failed" in result:
            self._failed[number] = result["failed"]
        else:
            report = result["report"]
            self._write(
                Measured(
                    number,
                    time.time(),
                    report.rung,
                    trainable=report.trainable,
                    encoded=report.encoded,
                    views=report.views,
                    encoding=report.encoding,
                )
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401
        """Record that a trial finished or was stopped early."""
        self._release(trial)
        number = self._numbers.pop(trial.trial_id)
        self._end(number, self._failed.pop(number, None))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401
        """Record that a trial failed finally. The search continues."""
        self._release(trial)
        # `get_error` of Tune reads the file at a place to which it is copied later.
        error_file = Path(trial.error_file) if trial.error_file else None
        text = error_file.read_text(encoding="utf-8") if error_file and error_file.exists() else ""
        lines = text.strip().splitlines()
        self._end(self._numbers.pop(trial.trial_id), lines[-1] if lines else "the worker was terminated")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401
        """Release the resources of a trial whose worker failed and that starts again."""
        self._release(trial)

    def _release(self, trial: Any) -> None:  # noqa: ANN401 - Tune's
        """Release the resources of a trial's workers.

        Tune kills the process that would release them, and Ray's own cleanup fails if several Ray instances run.
        """
        placement = self._placements.pop(trial.trial_id, None)
        if placement is not None:
            remove_placement_group(placement)

    def _end(self, number: int, error: str | None = None) -> None:
        if self.stopped is not None:  # The trial continues when the same command is run again.
            return
        trial = self._trials[number]
        is_finished = bool(trial.rungs) and trial.rungs[-1].share >= 1
        state = "failed" if error else "finished" if is_finished else "stopped"
        self._write(Ended(number, time.time(), state, error))  # type: ignore[arg-type]
        self._proposals.record_result(trial)
        task = self._tasks[self._space.backbone_of(trial.configuration)]
        shutil.rmtree(task.checkpoints(number), ignore_errors=True)

    def _write(self, event: Event) -> None:
        try:
            self._journal.write(event)
        except OutputError as error:
            self.stopped = str(error)
            raise
        apply(event, self._trials)
        self._progress(list(self._trials.values()))


class _Searcher(Searcher):
    """Adapter that Tune asks for the next configuration. The callback records why a trial ended."""

    def __init__(self, begin: Callable[[str], dict[str, Any] | str | None]) -> None:
        super().__init__(metric="dice", mode="max")
        self._begin = begin

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a configuration, None while the maximum number of trials is running, or FINISHED after the last."""
        return self._begin(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing; `_TrialRecorder` records the end of a trial."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file, because the journal has the complete state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; this is never called, because a search continues from its journal."""
