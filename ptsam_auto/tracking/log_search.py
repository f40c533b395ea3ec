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
from ptsam_auto.tracking.family import Family
from ptsam_auto.tracking.journal import Event
from ptsam_auto.tracking.quiet import BATCH, plain

EXPERIMENT = "ptsam-auto search"
JOURNAL, SENT = "journal.jsonl", "sent.json"
PAUSE = 2.0  # seconds between two looks at the journal
LONGEST_PAUSE = 60.0  # after failures
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
        self._family: Family | None = None
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
        family = self._opened()
        try:
            for path in files:
                family.client.log_artifact(family.parent, str(path), "figures" if path.suffix == ".svg" else None)
            if done:
                family.client.set_terminated(family.parent)
        except Exception as error:
            self.problem = _in_words(error)
            return None
        return family.client.tracking_uri

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
        family = self._opened()
        events, offset = journal.read(self._folder / JOURNAL, self._offset)
        if not events:
            return
        by_trial = defaultdict(list)
        for event in events:
            by_trial[str(event["trial"])].append(event)
        for number, of_trial in by_trial.items():
            self._send_trial(family, number, of_trial)
        self._offset = offset
        self._remember(family.client.tracking_uri)

    def _send_trial(self, family: Family, number: str, events: list[Event]) -> None:
        """Sending the same twice changes nothing: the runs are looked up first, times and steps are the events' own."""
        from mlflow.entities import Metric, Param, RunTag

        parameters, metrics, tags = [], [], []
        for event in events:
            time_ms = int(event["time"] * 1000)
            if event["event"] == "started":
                family.child(number, f"trial {number}", time_ms)
                parameters = [Param(path, str(value)) for path, value in event["settings"].items()]
            elif event["event"] == "rung":
                metrics += [Metric(key, value, time_ms, event["step"]) for key, value in _measures(event).items()]
            else:
                tags = [RunTag("ptsam.state", event["event"]), RunTag("ptsam.error", event.get("error") or "")]
        run = family.children[number]
        for start in range(0, max(1, len(metrics)), BATCH):
            family.client.log_batch(
                run, metrics[start : start + BATCH], () if start else parameters, () if start else tags
            )
        for event in events:
            if event["event"] in STATUS:
                family.client.set_terminated(run, STATUS[event["event"]], int(event["time"] * 1000))

    def _opened(self) -> Family:
        """The runs of this search; the parent is made where there is none."""
        if self._family is None:
            family = Family(EXPERIMENT, "search", "trial", self._about)
            family.open(self._about["asked"]["space"], lambda parent: self._fill(family.client, parent))
            self._offset = 0 if family.is_new else self._remembered().get(family.client.tracking_uri, 0)
            self._family = family
        return self._family

    def _fill(self, client: Any, parent: str) -> None:  # noqa: ANN401 - MLflow is not imported before it is needed
        from mlflow.entities import Param

        about, asked = self._about, self._about["asked"]
        parameters = {key: asked[key] for key in ("exhaustive", "method", "adapt", "splits", "train_images", "seed")}
        parameters |= {"backbone": about["backbone"]["name"], "data": ", ".join(asked["data"])}
        client.log_batch(parent, params=[Param(key, str(value)) for key, value in parameters.items()])
        client.log_text(parent, about["text"], f"{plain(asked['space'])}.yaml")
        client.log_dict(parent, about, "search.json")

    def _remembered(self) -> dict[str, int]:
        try:
            return json.loads((self._folder / SENT).read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def _remember(self, store: str) -> None:
        """How far each store has been told."""
        unfinished = self._folder / f"{SENT}.part"
        unfinished.write_text(json.dumps(self._remembered() | {store: self._offset}))
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
