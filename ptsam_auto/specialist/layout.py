"""The names of the files in the folder of a specialist, see `artifact`. Importing this loads no slow packages."""

from pathlib import Path

from ptsam_auto.errors import SpecialistError

RECORD_FILE, WEIGHTS_FILE, FOLDS_FILE = "specialist.json", "specialist.safetensors", "folds.safetensors"
REPORT_FILE = "report.html"
REGISTERED = "models:/"  # A specialist in MLflow's registry begins with this, see `tracking.models`.


def check_finished(folder: Path) -> None:
    """Check that a folder is a finished specialist: `fit` writes its record last.

    Raises:
        SpecialistError: It is not.
    """
    if not (folder / RECORD_FILE).is_file():
        raise SpecialistError(
            f"{folder} is not a finished specialist: it has no {RECORD_FILE}.\nTo make one, run: ptsam-auto fit DIR"
        )
