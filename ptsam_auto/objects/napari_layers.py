"""Opens in napari what `predict` has written: each image's objects are a layer of labels, with their measurements.

napari finds this through the entry point `napari.manifest` and napari.yaml; nothing of napari is imported. The layers
have no scale, because napari opens images of most formats without theirs, and the labels have to lie on them.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import tifffile

from ptsam_auto.objects.results import LABELS
from ptsam_auto.objects.tables import OBJECTS
from ptsam_auto.own_files import LIST_FILE

MOST_LAYERS = 100
Layer = tuple[np.ndarray, dict[str, Any], str]  # data, arguments and kind, as napari expects them


def folder_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return the function that reads a folder of `predict --instances` or `--measure`; None for everything else.

    Args:
        path: What was opened in napari: a path, or several of them.
    """
    folders = [path] if isinstance(path, str) else list(path)
    return _read if folders and all(_label_files(Path(folder)) for folder in folders) else None


def _read(path: str | Sequence[str]) -> list[Layer]:
    folders = [path] if isinstance(path, str) else list(path)
    return [layer for folder in folders for layer in _layers(Path(folder))]


def _layers(folder: Path) -> list[Layer]:
    """Return a layer of labels for each image; the first is visible."""
    files = _label_files(folder)
    if len(files) > MOST_LAYERS:
        warnings.warn(
            f"{folder} has the objects of {len(files)} images; the first {MOST_LAYERS} are opened. "
            f"Others can be opened as files of {folder / LABELS}.",
            stacklevel=2,
        )
    layers: list[Layer] = []
    for file in files[:MOST_LAYERS]:
        name = file.relative_to(folder / LABELS).with_suffix("").as_posix()
        labels = tifffile.imread(file)
        arguments = {"name": f"{name} objects", "visible": not layers, "metadata": {"file": str(file)}}
        if features := _features(folder, name, labels):
            arguments["features"] = features
        layers.append((labels, arguments, "labels"))
    return layers


def _label_files(folder: Path) -> list[Path]:
    """Return the files of labels in a folder that `predict` has written; [] for any other folder."""
    return sorted((folder / LABELS).rglob("*.tif")) if (folder / LIST_FILE).is_file() else []


def _features(folder: Path, name: str, labels: np.ndarray) -> dict[str, list[Any]]:
    """Return the columns of objects.parquet for an image, with the column `index` by which napari finds an object.

    A stack has none, because each of its pages counts from 1 on.
    """
    table = folder / f"{OBJECTS}.parquet"
    if labels.ndim > 2 or not table.is_file():
        return {}
    columns = pyarrow.parquet.read_table(table, filters=[("image", "==", name)]).to_pydict()
    return {"index": columns["object"], **columns} if columns.get("object") else {}
