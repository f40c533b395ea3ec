"""A parent run in MLflow and its children, found again by their tags: logging the same twice makes nothing twice."""

from collections.abc import Callable
from typing import Any

from ptsam_auto.tracking.quiet import plain, quiet_mlflow

PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"


class Family:
    """The runs of one search or comparison.

    Args:
        experiment: its name; made if there is none.
        kind: "search" or "comparison"; the tag ptsam.KIND of the parent holds the note's id.
        member: what a child is, "trial" or "bout"; its tag ptsam.MEMBER names it.
        note: what the work was begun with: id, data, versions, commit.

    Attributes:
        client: of the tracking store.
        parent: the run's id; "" until `open`.
        children: run ids by name.
        is_new: whether `open` made the parent.

    Raises:
        Exception: whatever MLflow and its stores raise; there is no common type.
    """

    def __init__(self, experiment: str, kind: str, member: str, note: dict[str, Any]) -> None:
        self.client = quiet_mlflow().MlflowClient()
        self._kind, self._member, self._note = f"ptsam.{kind}", f"ptsam.{member}", note
        found = self.client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else self.client.create_experiment(experiment)
        self.children: dict[str, str] = {}
        self.parent, self.is_new = "", False

    def open(self, name: str, fill: Callable[[str], None]) -> None:
        """Find the runs, or make the parent.

        Args:
            name: of a new parent.
            fill: called with a new parent's id.
        """
        runs = self.client.search_runs([self._experiment], f"tags.`{self._kind}` = '{self._note['id']}'", max_results=1)
        if runs:
            parent = runs[0].info.run_id
            self._find_children(parent)
        else:
            note = self._note
            tags = {self._kind: note["id"], "ptsam.commit": note["commit"] or "unknown"}
            tags |= {f"ptsam.version.{package}": version for package, version in note["versions"].items()}
            tags |= {f"ptsam.fingerprint.{plain(one['name'])}": one["fingerprint"] for one in note["data"]}
            parent = self._create(name, None, tags)
            fill(parent)
        self.parent, self.is_new = parent, not runs

    def child(self, name: str, title: str, time_ms: int | None = None) -> str:
        """The run of a child, made if there is none."""
        if name not in self.children:
            self.children[name] = self._create(title, time_ms, {PARENT: self.parent, self._member: name})
        return self.children[name]

    def _find_children(self, parent: str) -> None:
        of_parent, token = f"tags.`{PARENT}` = '{parent}'", None
        while True:
            page = self.client.search_runs([self._experiment], of_parent, max_results=1000, page_token=token)
            self.children.update({run.data.tags[self._member]: run.info.run_id for run in page})
            token = page.token
            if not token:
                return

    def _create(self, name: str, time_ms: int | None, tags: dict[str, str]) -> str:
        return self.client.create_run(self._experiment, time_ms, {NAME: name, **tags}).info.run_id
