"""Specialists in MLflow's registry: `models:/NAME@champion` as a specialist, and which version has that alias."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptsam_auto.errors import SpecialistError
from ptsam_auto.specialist.layout import RECORD_FILE, REGISTERED
from ptsam_auto.tracking.store import load_mlflow

CHAMPION = "champion"  # alias of the version that is in use


@dataclass(frozen=True)
class Promoted:
    """The version of a registered specialist that has an alias now.

    Args:
        name: Name of the registered model.
        version: Version that has the alias.
        before: Version that had it before, or None.
    """

    name: str
    version: int
    before: int | None


def local_folder(specialist: Path) -> Path:
    """Return the folder of a specialist: the path itself, or that of a registered version, which is downloaded.

    Args:
        specialist: Path of a folder, or models:/NAME/VERSION or models:/NAME@ALIAS.

    Raises:
        SpecialistError: MLflow does not have this version, does not answer, or what is there is not a specialist.
        PtsamError: MLflow is not installed.
    """
    # A path has no double slashes, so that this is "models:/NAME" also for "models://NAME".
    uri = specialist.as_posix()
    if not uri.startswith(REGISTERED):
        return specialist
    mlflow = load_mlflow()
    try:
        downloaded = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except Exception as error:  # MLflow and its stores have no common error type.
        raise SpecialistError(_not_found(mlflow, uri, error)) from None
    found = sorted(downloaded.glob(f"artifacts/*/{RECORD_FILE}"))
    if len(found) != 1:
        raise SpecialistError(f"{uri} is not a specialist that ptsam-auto fit has logged.\nGive another version.")
    return found[0].parent


def promote(name: str, version: int | None = None, alias: str = CHAMPION) -> Promoted:
    """Give a version of a registered specialist an alias, which other versions lose.

    Args:
        name: Name of the registered model.
        version: Version. Default: the newest.
        alias: The alias.

    Raises:
        SpecialistError: MLflow does not have this version, or does not answer.
        PtsamError: MLflow is not installed.
    """
    mlflow = load_mlflow()
    client = mlflow.MlflowClient()
    try:
        if version is None:
            version = max(int(one.version) for one in client.search_model_versions(f"name='{name}'"))
        client.get_model_version(name, str(version))
        before = client.get_registered_model(name).aliases.get(alias)
        client.set_registered_model_alias(name, alias, str(version))
    except Exception as error:  # as above
        raise SpecialistError(_not_found(mlflow, f"{name}, version {version or 'newest'}", error)) from None
    return Promoted(name, version, None if before is None else int(before))


def _not_found(mlflow: Any, what: str, error: Exception) -> str:  # noqa: ANN401 - a module
    """Return the message that a version cannot be had, with the names that are registered."""
    try:
        names = [model.name for model in mlflow.MlflowClient().search_registered_models()]
        reason = f"There are: {', '.join(sorted(names))}." if names else "Nothing is registered there."
    except Exception:  # The store does not answer.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"MLflow does not have {what}. {reason}\nCheck the name, and that MLFLOW_TRACKING_URI names the right store."
