"""Shows a fit in MLflow while it runs: a run, and a child run for each member with its Dice and its loss so far.

A thread looks into the folder of the fit every few seconds. So no training waits for a server, and it does not matter
which processes train. At the end `log_fit` completes the same runs; an interrupted fit goes on in them.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.experiment.cross_fit import FOLD_FILE, FoldResult
from ptsam_auto.files import write_json
from ptsam_auto.records import RecordError, read_json
from ptsam_auto.tracking.curves import CURVES, curve_metrics
from ptsam_auto.tracking.run_group import NAME, NOTE, PARENT, dataset_input
from ptsam_auto.tracking.store import described, experiment_id, load_mlflow, without_secrets
from ptsam_auto.training.resume import curve_of
from ptsam_auto.training.trainer import CHECKPOINT, columns

EXPERIMENT = "ptsam-auto"
RUN_FILE = "mlflow.json"  # in the folder of the fit: the run in which an interrupted fit goes on
SO_FAR = "dice/so_far"  # metric: cross-fitted Dice of the images of the folds that are finished; the step counts folds
POLL_SECONDS = 5.0


@dataclass
class LiveRuns:
    """The runs of a fit in progress.

    Args:
        parent: Id of the run.
        children: Id of the child run of each member that was tried so far, by name.
        steps: Last step of each learning curve that was sent, by name of the member.
        ended: Time of the last event of each member, ms since 1970.
    """

    parent: str
    children: dict[str, str] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Earlier:
    """Contents of mlflow.json."""

    run: str
    store: str
    fingerprint: str


class LiveFit:
    """Sends what a fit has reached to MLflow while it runs.

    Args:
        name: Name of the run, that of the specialist's folder.
        work: Folder of the fit in progress.
        members: Names of the candidates, in their order.
        dataset: Name of the folder of images.
        fingerprint: Fingerprint of the images; see `data.dataset.fingerprint`.
        pause: Interval in seconds at which the folder is looked at.

    Attributes:
        runs: The runs, or None if MLflow could not be reached.
        problem: Reason why MLflow could not be reached, or None.
    """

    def __init__(
        self,
        name: str,
        work: Path,
        members: Sequence[str],
        dataset: str,
        fingerprint: str,
        pause: float = POLL_SECONDS,
    ) -> None:
        self._name, self._work, self._members = name, work, tuple(members)
        self._dataset, self._fingerprint, self._pause = dataset, fingerprint, pause
        self._client: Any = None
        self._seen: dict[str, set[Path]] = {member: set() for member in members}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self.runs: LiveRuns | None = None
        self.problem: str | None = None

    def start(self) -> None:
        """Open the run, or the one of an interrupted fit, and follow the fit in a thread.

        This imports MLflow, so it comes before anything whose duration is measured.
        """
        try:
            mlflow = load_mlflow()
            self._client = mlflow.MlflowClient()
            self.runs = self._reopened() or self._opened(mlflow.active_run())
            self._look(sends=False)
        except Exception as error:  # MLflow and its stores have no common error type.
            self.problem = described(error)
            return
        self._thread.start()

    def finish(self) -> LiveRuns | None:
        """Stop to follow, and return the runs for `log_fit`; None if there are none."""
        self._stop()
        return self.runs

    def end(self, status: str) -> None:
        """Stop to follow, and end all runs as "KILLED" or "FAILED"."""
        self._stop()
        for run in (*self.runs.children.values(), self.runs.parent) if self.runs else ():
            with suppress(Exception):  # The fit has ended with an error of its own.
                self._client.set_terminated(run, status)

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(self._pause):
            with suppress(Exception):  # The server may be down for a while; `log_fit` says so if it stays so.
                self._look()

    def _opened(self, outer: Any) -> LiveRuns:  # noqa: ANN401 - MLflow's
        experiment = outer.info.experiment_id if outer else experiment_id(self._client, EXPERIMENT)
        note = f"A fit of the images in `{self._dataset}` is in progress; each member that is tried is a child run."
        tags = {NAME: self._name, NOTE: note, "ptsam.dataset_fingerprint": self._fingerprint}
        tags |= {PARENT: outer.info.run_id} if outer else {}
        run = self._client.create_run(experiment, int(1000 * time.time()), tags, self._name).info
        inputs = [dataset_input(self._dataset, self._fingerprint, "training and cross-fitting")]
        self._client.log_inputs(run.run_id, inputs)
        earlier = _Earlier(run.run_id, self._store, self._fingerprint)
        write_json(self._work / RUN_FILE, vars(earlier))
        return LiveRuns(run.run_id)

    def _reopened(self) -> LiveRuns | None:
        """Return the runs of the interrupted fit of the same images in the same store, or None."""
        try:
            earlier = read_json(_Earlier, self._work / RUN_FILE)
        except (FileNotFoundError, RecordError):
            return None
        if (earlier.store, earlier.fingerprint) != (self._store, self._fingerprint):
            return None
        try:
            run = self._client.get_run(earlier.run)
        except Exception:  # Somebody has deleted it.
            return None
        if run.info.lifecycle_stage != "active":
            return None
        runs = LiveRuns(earlier.run)
        children = self._client.search_runs([run.info.experiment_id], f"tags.`{PARENT}` = '{earlier.run}'")
        for child in children:
            runs.children[child.data.tags[NAME]] = child.info.run_id
            sent = self._client.get_metric_history(child.info.run_id, CURVES["loss"])
            runs.steps[child.data.tags[NAME]] = max((metric.step for metric in sent), default=0)
        for one in (earlier.run, *runs.children.values()):
            self._client.update_run(one, "RUNNING")
        return runs

    @property
    def _store(self) -> str:
        return without_secrets(self._client.tracking_uri)

    def _look(self, sends: bool = True) -> None:
        """Send what is new in the folder; with `sends` False, what is there has been sent by an interrupted fit."""
        from mlflow.entities import Metric

        for index, member in enumerate(self._members):
            dice: dict[Path, list[float]] = {}
            metrics = []
            finished = sorted(self._work.glob(f"member-{index}-*/fold-*/{FOLD_FILE}"), key=_changed)
            for count, path in enumerate(finished, start=1):
                with suppress(FileNotFoundError, RecordError):
                    so_far = dice.setdefault(path.parents[1], [])
                    so_far += [image.dice for image in read_json(FoldResult, path).images]
                    if path not in self._seen[member]:
                        metrics.append(Metric(SO_FAR, float(np.mean(so_far)), _changed(path), count))
                        self._seen[member].add(path)
            checkpoint = self._work / f"final-{index}" / CHECKPOINT
            assert self.runs is not None
            last = self.runs.steps.get(member, 0)
            if curve := [report for report in curve_of(checkpoint) if report.step > last]:
                metrics += curve_metrics(columns(curve), _changed(checkpoint))
            if metrics and sends:
                self._client.log_batch(self._child(member), metrics=metrics)
                self.runs.ended[member] = max(metric.timestamp for metric in metrics)
                if curve:
                    self.runs.steps[member] = curve[-1].step

    def _child(self, member: str) -> str:
        """Return the id of the child run of a member; it is created if it does not exist."""
        assert self.runs is not None
        if member not in self.runs.children:
            experiment = self._client.get_run(self.runs.parent).info.experiment_id
            tags = {NAME: member, PARENT: self.runs.parent}
            child = self._client.create_run(experiment, int(1000 * time.time()), tags, member)
            self.runs.children[member] = child.info.run_id
        return self.runs.children[member]


def _changed(path: Path) -> int:
    """Return when a file was written, ms since 1970."""
    return int(path.stat().st_mtime_ns // 1_000_000)
