"""Logs a search to MLflow: one parent run, and one child run per trial.

One thread reads the journal and sends the events, so trials never wait for a server. The thread continues where it
stopped the last time. Events that could not be sent are sent later: when the server answers again, at the end, or by
the next call of the search.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptsam_auto.experiment import journal
from ptsam_auto.files import write_json
from ptsam_auto.search.record import JOURNAL_FILE, RECORD_FILE, Ended, Event, Measured, Rung, SearchRecord, Started
from ptsam_auto.search.space import ADAPT, BACKBONE
from ptsam_auto.tracking.run_group import RunGroup
from ptsam_auto.tracking.store import HELD_OUT, METRICS_PER_CALL, allowed_name, described, without_secrets

EXPERIMENT = "ptsam-auto search"
SENT_FILE = "sent.json"
POLL_SECONDS = 2.0  # Interval at which the journal is read.
MAX_POLL_SECONDS = 60.0  # Longest interval after failures.
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class SearchLog:
    """Sends a search to MLflow while it runs.

    Args:
        folder: Folder of the search, with its journal.
        record: Contents of search.json.
        pause: Interval in seconds at which the journal is read.

    Attributes:
        problem: Reason why the last attempt failed, or None.
    """

    def __init__(self, folder: Path, record: SearchRecord, pause: float = POLL_SECONDS) -> None:
        self._folder, self._record, self._pause = folder, record, pause
        self.problem: str | None = None
        self._group: RunGroup | None = None
        self._offset = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start the sending thread."""
        self._thread.start()

    def finish(self, files: Sequence[Path], done: bool) -> str | None:
        """Send the remaining events and the files.

        Args:
            files: Files for the parent run; files of the same name are replaced.
            done: Whether the search is finished.

        Returns:
            Address of the tracking server or file, or None if something could not be sent.
        """
        self._ended.set()
        self._thread.join()
        if not self._try():
            return None
        group = self._opened()
        try:
            for path in files:
                group.client.log_artifact(group.parent, str(path), "figures" if path.suffix == ".svg" else None)
            self._log_best(group)
            if done:
                group.end()
        except Exception as error:
            self.problem = described(error)
            return None
        return group.client.tracking_uri

    def _log_best(self, group: RunGroup) -> None:
        """Log the best Dice and the number of trials as metrics of the parent run, so that searches can be ranked."""
        from mlflow.entities import Metric

        events, _ = journal.read(self._folder / JOURNAL_FILE, Event, 0)  # type: ignore[arg-type, var-annotated]
        last = {event.trial: event.rung.dice for event in events if isinstance(event, Measured)}
        ended = {event.trial: event.event for event in events if isinstance(event, Ended)}
        finished = [dice for trial, dice in last.items() if ended.get(trial) == "finished"]
        values: dict[str, float] = {f"trials/{state}": sum(one == state for one in ended.values()) for state in STATUS}
        if finished:
            values[HELD_OUT] = max(finished)
        time_ms = int(max((event.time for event in events), default=0) * 1000)
        group.client.log_batch(group.parent, [Metric(key, float(value), time_ms, 0) for key, value in values.items()])

    def _work(self) -> None:
        pause = self._pause
        while not self._ended.wait(pause):
            pause = self._pause if self._try() else min(2 * pause, MAX_POLL_SECONDS)

    def _try(self) -> bool:
        try:
            self._send()
        except Exception as error:  # MLflow and its stores have no common error type.
            self.problem = described(error)
            return False
        self.problem = None
        return True

    def _send(self) -> None:
        group = self._opened()
        events, offset = journal.read(self._folder / JOURNAL_FILE, Event, self._offset)  # type: ignore[arg-type, var-annotated]
        if not events:
            return
        by_trial = defaultdict(list)
        for event in events:
            by_trial[str(event.trial)].append(event)
        for number, trial_events in by_trial.items():
            self._send_trial(group, number, trial_events)
        self._offset = offset
        # The journal position up to which each server has received the events.
        write_json(self._folder / SENT_FILE, self._sent() | {_server(group): self._offset})

    def _send_trial(self, group: RunGroup, number: str, events: list[Event]) -> None:
        """Send the events of a trial.

        Sending them twice changes nothing: existing runs are found first, and times and steps are those of the events.
        """
        from mlflow.entities import Metric, Param, RunTag

        parameters, metrics, tags = [], [], []
        for event in events:
            time_ms = int(event.time * 1000)
            if isinstance(event, Started):
                group.child(number, f"trial {number}", time_ms)
                record = self._record
                named = {
                    BACKBONE: record.backbone_of(event.configuration).weights.name,
                    ADAPT: record.adapt_of(event.configuration),
                }
                parameters = [Param(path, str(value)) for path, value in {**named, **event.settings}.items()]
            elif isinstance(event, Measured):
                measures = _measures(event.rung) | {"trainable": event.trainable}
                metrics += [Metric(key, value, time_ms, event.rung.step) for key, value in measures.items()]
            else:
                tags = [RunTag("ptsam.state", event.event), RunTag("ptsam.error", event.error or "")]
        run = group.children[number]
        for start in range(0, max(1, len(metrics)), METRICS_PER_CALL):
            group.client.log_batch(
                run, metrics[start : start + METRICS_PER_CALL], () if start else parameters, () if start else tags
            )
        for event in events:
            if isinstance(event, Ended):
                group.client.set_terminated(run, STATUS[event.event], int(event.time * 1000))

    def _opened(self) -> RunGroup:
        """Return the runs of this search. The parent run is created if it does not exist."""
        if self._group is None:
            record = self._record
            group = RunGroup.open(
                EXPERIMENT, "search", "trial", record.request.space, record.origin, record.data, self._fill
            )
            self._offset = 0 if group.is_new else self._sent().get(_server(group), 0)
            self._group = group
        return self._group

    def _fill(self, client: Any, parent: str) -> None:  # noqa: ANN401 - MLflow's type
        from mlflow.entities import Param

        record, request = self._record, self._record.request
        keys = ("exhaustive", "method", "splits", "train_images", "seed")
        parameters = {key: getattr(request, key) for key in keys}
        parameters |= {
            "adapt": ", ".join(request.adapt),
            "backbone": ", ".join(backbone.weights.name for backbone in record.backbones),
            "data": ", ".join(request.data),
        }
        client.log_batch(parent, params=[Param(key, str(value)) for key, value in parameters.items()])
        client.log_text(parent, record.text, f"{allowed_name(request.space)}.yaml")
        client.log_dict(parent, asdict(record), RECORD_FILE)

    def _sent(self) -> dict[str, int]:
        try:
            return json.loads((self._folder / SENT_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}


def _server(group: RunGroup) -> str:
    return without_secrets(group.client.tracking_uri)


def _measures(rung: Rung) -> dict[str, float]:
    """Return the metrics of a rung: the mean, the mean of each dataset, and the Dice of each split."""
    datasets = defaultdict(list)
    for name, dice in rung.folds.items():
        datasets[name.rpartition("/")[0]].append(dice)
    measures = {HELD_OUT: rung.dice, "loss/total": rung.loss, "seconds": rung.seconds, "epoch": rung.epoch}
    for name, dices in datasets.items():
        measures[f"dice_of_dataset/{allowed_name(name)}"] = sum(dices) / len(dices)
    for name, dice in rung.folds.items():
        dataset, _, split = name.rpartition("/")
        measures[f"dice_of_split/{allowed_name(dataset)} {split}"] = dice
    return measures
