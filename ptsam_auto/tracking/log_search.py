"""A search in MLflow: one parent run, a child a trial, sent from the journal by one thread.

Trials write to no server, so they can neither collide nor wait for one. The thread reads the journal from where it
got to last time; what a server did not take is sent when it is back, at the end, or by the next run of the search.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Event
from ptsam_auto.tracking.quiet import BATCH, plain, quiet_mlflow

EXPERIMENT = "ptsam-auto search"
JOURNAL, SENT = "journal.jsonl", "sent.json"
PAUSE = 2.0  # seconds between two looks at the journal
LONGEST_PAUSE = 60.0  # after failures
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


class SearchLog:
    """Sends a search to MLflow while it runs.

    Args:
        folder: the search's, with its journal.
        about: the contents of search.json.
        pause: seconds between two looks at the journal.

    Attributes:
        problem: why the last attempt failed, or None.
    """

    def __init__(self, folder: Path, about: dict[str, Any], pause: float = PAUSE) -> None:
        self._folder, self._about, self._pause = folder, about, pause
        self.problem: str | None = None
        self._client: Any = None
        self._parent = ""
        self._children: dict[str, str] = {}  # trial's number to run
        self._offset = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def finish(self, files: Sequence[Path], done: bool) -> str | None:
        """Send what is left, and the files; returns the store's address, or None where it did not take everything.

        Args:
            files: for the parent run; of the same name as before they replace.
            done: whether the search has come to its end.
        """
        self._over.set()
        self._thread.join()
        if not self._try():
            return None
        try:
            for path in files:
                self._client.log_artifact(self._parent, str(path), "figures" if path.suffix == ".svg" else None)
            if done:
                self._client.set_terminated(self._parent)
        except Exception as error:
            self.problem = _in_words(error)
            return None
        return self._client.tracking_uri

    def _work(self) -> None:
        pause = self._pause
        while not self._over.wait(pause):
            pause = self._pause if self._try() else min(2 * pause, LONGEST_PAUSE)

    def _try(self) -> bool:
        try:
            self._send()
        except Exception as error:  # MLflow and its stores have no common type
            self.problem = _in_words(error)
            return False
        self.problem = None
        return True

    def _send(self) -> None:
        if not self._parent:
            self._open()
        events, offset = journal.read(self._folder / JOURNAL, self._offset)
        if not events:
            return
        by_trial = defaultdict(list)
        for event in events:
            by_trial[str(event["trial"])].append(event)
        for number, of_trial in by_trial.items():
            self._send_trial(number, of_trial)
        self._offset = offset
        self._remember()

    def _send_trial(self, number: str, events: list[Event]) -> None:
        """Sending the same twice changes nothing: the runs are looked up first, times and steps are the events' own."""
        from mlflow.entities import Metric, Param, RunTag

        parameters, metrics, tags = [], [], []
        for event in events:
            time_ms = int(event["time"] * 1000)
            if event["event"] == "started":
                if number not in self._children:
                    self._children[number] = self._create(
                        f"trial {number}", time_ms, {PARENT: self._parent, "ptsam.trial": number}
                    )
                parameters = [Param(path, str(value)) for path, value in event["settings"].items()]
            elif event["event"] == "rung":
                metrics += [Metric(key, value, time_ms, event["step"]) for key, value in _measures(event).items()]
            else:
                tags = [RunTag("ptsam.state", event["event"]), RunTag("ptsam.error", event.get("error") or "")]
        run = self._children[number]
        for start in range(0, max(1, len(metrics)), BATCH):
            self._client.log_batch(
                run, metrics[start : start + BATCH], () if start else parameters, () if start else tags
            )
        for event in events:
            if event["event"] in STATUS:
                self._client.set_terminated(run, STATUS[event["event"]], int(event["time"] * 1000))

    def _open(self) -> None:
        """Find the runs of this search, or make the parent."""
        mlflow = quiet_mlflow()
        self._client = client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(EXPERIMENT)
        self._experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        runs = client.search_runs([self._experiment], f"tags.`ptsam.search` = '{self._about['id']}'", max_results=1)
        parent = runs[0].info.run_id if runs else self._create_parent()
        of_parent, token = f"tags.`{PARENT}` = '{parent}'", None
        while True:
            page = client.search_runs([self._experiment], of_parent, max_results=1000, page_token=token)
            self._children.update({run.data.tags["ptsam.trial"]: run.info.run_id for run in page})
            token = page.token
            if not token:
                break
        self._offset = self._remembered().get(client.tracking_uri, 0) if runs else 0
        self._parent = parent

    def _create_parent(self) -> str:
        from mlflow.entities import Param

        about, asked = self._about, self._about["asked"]
        tags = {"ptsam.search": about["id"], "ptsam.commit": about["commit"] or "unknown"}
        tags |= {f"ptsam.version.{package}": version for package, version in about["versions"].items()}
        tags |= {f"ptsam.fingerprint.{plain(one['name'])}": one["fingerprint"] for one in about["data"]}
        parent = self._create(asked["space"], None, tags)
        parameters = {key: asked[key] for key in ("exhaustive", "method", "adapt", "splits", "train_images", "seed")}
        parameters |= {"backbone": about["backbone"]["name"], "data": ", ".join(asked["data"])}
        self._client.log_batch(parent, params=[Param(key, str(value)) for key, value in parameters.items()])
        self._client.log_text(parent, about["text"], f"{plain(asked['space'])}.yaml")
        self._client.log_dict(parent, about, "search.json")
        return parent

    def _create(self, name: str, time_ms: int | None, tags: dict[str, str]) -> str:
        return self._client.create_run(self._experiment, time_ms, {NAME: name, **tags}).info.run_id

    def _remembered(self) -> dict[str, int]:
        try:
            return json.loads((self._folder / SENT).read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def _remember(self) -> None:
        """How far each store has been told."""
        unfinished = self._folder / f"{SENT}.part"
        unfinished.write_text(json.dumps(self._remembered() | {self._client.tracking_uri: self._offset}))
        unfinished.replace(self._folder / SENT)


def _measures(event: Event) -> dict[str, float]:
    """A rung as metrics: the mean, each dataset's mean, each of its splits."""
    cells: dict[str, float] = event["cells"]
    datasets = defaultdict(list)
    for name, dice in cells.items():
        datasets[name.rpartition("/")[0]].append(dice)
    measures = {"dice": sum(cells.values()) / len(cells), "loss": event["loss"], "seconds": event["seconds"]}
    measures |= {"epoch": event["epoch"], "trainable": event["trainable"]}
    for name, dices in datasets.items():
        measures[f"dice {plain(name)}"] = sum(dices) / len(dices)
    for name, dice in cells.items():
        dataset, _, split = name.rpartition("/")
        measures[f"dice {plain(dataset)} split {split}"] = dice
    return measures


def _in_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
