"""A parent run and its child runs in MLflow. Runs are found by their tags, so nothing is logged twice."""

import json
from collections.abc import Callable
from typing import Any

from ptsam_auto.experiment.folds import DatasetRecord
from ptsam_auto.experiment.work_folder import Origin
from ptsam_auto.tracking.store import allowed_name, experiment_id, load_mlflow

PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
NOTE = "mlflow.note.content"  # the tag of a run's description


def dataset_input(name: str, fingerprint: str, context: str) -> Any:  # noqa: ANN401 - MLflow's
    """Return a dataset as MLflow shows it beside a run. It names the folder, not its place.

    Args:
        name: Name of the folder.
        fingerprint: Fingerprint of the images; see `data.dataset.fingerprint`.
        context: What the images are used for.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    about = Dataset(name=name, digest=fingerprint[:36], source_type="folder", source=f'{{"name": {json.dumps(name)}}}')
    return DatasetInput(about, [InputTag("mlflow.data.context", context)])


class RunGroup:
    """The runs of one search or comparison; it is created by `open`.

    Args:
        client: Client of MLflow.
        experiment: Id of the experiment in MLflow.
        member_tag: Tag that contains the name of a child run.
        parent: Id of the parent run.
        is_new: Whether the parent run was created by this call.

    Attributes:
        children: Ids of the child runs, by name.
    """

    def __init__(self, client: Any, experiment: str, member_tag: str, parent: str, is_new: bool) -> None:  # noqa: ANN401
        self.client, self.parent, self.is_new = client, parent, is_new
        self._experiment, self._member_tag = experiment, member_tag
        self.children: dict[str, str] = {}

    @classmethod
    def open(
        cls,
        experiment: str,
        kind: str,
        member: str,
        name: str,
        origin: Origin,
        data: tuple[DatasetRecord, ...],
        fill: Callable[[Any, str], None],
    ) -> "RunGroup":
        """Find the runs of a search or comparison, or create the parent run.

        Args:
            experiment: Name of the experiment in MLflow; it is created if it does not exist.
            kind: "search" or "comparison"; the tag ptsam.KIND of the parent run contains the id of the origin.
            member: Type of the child runs, "trial" or "training"; the tag ptsam.MEMBER of a child contains its name.
            name: Name of a new parent run.
            origin: Origin of the search or comparison.
            data: Datasets of the search or comparison.
            fill: Function that is called with the client and the id of a new parent run.

        Raises:
            Exception: An error of MLflow or its store; they have no common type.
        """
        client = load_mlflow().MlflowClient()
        experiment_number = experiment_id(client, experiment)
        runs = client.search_runs([experiment_number], f"tags.`ptsam.{kind}` = '{origin.id}'", max_results=1)
        if runs:
            group = cls(client, experiment_number, f"ptsam.{member}", runs[0].info.run_id, is_new=False)
            group._find_children()
            return group
        tags = {NAME: name, f"ptsam.{kind}": origin.id, "ptsam.commit": origin.commit or "unknown"}
        tags |= {f"ptsam.version.{package}": version for package, version in origin.versions.items()}
        tags |= {f"ptsam.fingerprint.{allowed_name(dataset.name)}": dataset.fingerprint for dataset in data}
        parent = client.create_run(experiment_number, tags=tags).info.run_id
        client.log_inputs(parent, [dataset_input(one.name, one.fingerprint, "training and held out") for one in data])
        fill(client, parent)
        return cls(client, experiment_number, f"ptsam.{member}", parent, is_new=True)

    def child(self, name: str, title: str, time_ms: int | None = None) -> str:
        """Return the id of a child run. The run is created if it does not exist."""
        if name not in self.children:
            tags = {NAME: title, PARENT: self.parent, self._member_tag: name}
            self.children[name] = self.client.create_run(self._experiment, time_ms, tags).info.run_id
        return self.children[name]

    def end(self) -> None:
        """End the parent run, unless it has ended already."""
        if self.client.get_run(self.parent).info.status == "RUNNING":
            self.client.set_terminated(self.parent)

    def _find_children(self) -> None:
        parent_filter, token = f"tags.`{PARENT}` = '{self.parent}'", None
        while True:
            page = self.client.search_runs([self._experiment], parent_filter, max_results=1000, page_token=token)
            self.children.update({run.data.tags[self._member_tag]: run.info.run_id for run in page})
            token = page.token
            if not token:
                return
