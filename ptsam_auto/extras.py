"""The extras: packages that only some commands need, so that they are installed only where they are asked for.

pip install 'ptsam-auto[track]'        MLflow
pip install 'ptsam-auto[tune]'         Ray and Optuna: search, ablate, compare, and several workers
pip install 'ptsam-auto[serve]'        FastAPI and uvicorn: the pages of serve and annotate
pip install 'ptsam-auto[all]'          everything
"""

import sys
from importlib.util import find_spec

from ptsam_auto.errors import PtsamError

# Modules of each extra, as they are imported; those of `microscopes` are for one file format each.
MODULES = {
    "track": ("mlflow",),
    "tune": ("ray", "optuna"),
    "nnunet": ("nnunetv2",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "serve": ("fastapi", "uvicorn", "python_multipart"),
    "microscopes": ("liffile", "nd2", "nibabel", "pydicom", "zarr"),
}


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra are installed."""
    return not _missing(extra)


def require(extra: str, what: str) -> None:
    """Check that an extra is installed.

    Args:
        extra: Name of the extra.
        what: What needs it, as the subject of a sentence, such as "search".

    Raises:
        PtsamError: Some of its modules are not installed.
    """
    _refuse(_missing(extra), extra, what)


def require_module(name: str, extra: str, what: str) -> None:
    """Check that one module of an extra is installed; see `require`."""
    _refuse([one for one in _missing(extra) if one == name], extra, what)


def _refuse(missing: list[str], extra: str, what: str) -> None:
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise PtsamError(f"{what} needs {' and '.join(missing)}, which {are} not installed. {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Return the sentence that says how to install an extra."""
    return f"Install it: pip install 'ptsam-auto[{extra}]'"


def _missing(extra: str) -> list[str]:
    # A module that is set to None in sys.modules counts as missing, as it does in an import.
    return [name for name in MODULES[extra] if sys.modules.get(name, ...) is None or not _is_there(name)]


def _is_there(name: str) -> bool:
    return name in sys.modules or find_spec(name) is not None
