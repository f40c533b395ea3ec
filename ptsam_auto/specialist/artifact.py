"""Saves and loads the folder of a specialist: its learned tensors and a JSON description.

specialist.json          settings, backbone and its hash, data, scores, versions; see `record`
specialist.safetensors   learned parameters (8 KB for PTSAM's 2,048 numbers)
report.html              report for people; see `report`
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from ptsam_auto import registry
from ptsam_auto.data.images import as_image
from ptsam_auto.errors import BackboneError, ConfigError, SpecialistError
from ptsam_auto.files import json_sha256, write_bytes, write_text
from ptsam_auto.methods.model import Model
from ptsam_auto.records import RecordError, from_json, to_json
from ptsam_auto.sam.checkpoint import Backbone, find, load
from ptsam_auto.specialist.record import FORMAT, BackboneRecord, SpecialistRecord

RECORD_FILE, WEIGHTS_FILE = "specialist.json", "specialist.safetensors"


@dataclass(frozen=True)
class Specialist:
    """A trained specialist, ready to predict.

    Args:
        model: The trained model.
        record: Contents of specialist.json.
    """

    model: Model
    record: SpecialistRecord

    @cached_property
    def identity(self) -> str:
        """Return a hash that identifies the specialist: learned parameters, method, and backbone or nnU-Net design."""
        learned = hashlib.sha256(_learned(self.model)).hexdigest()
        tile = self.record.scale.tile if self.record.scale else None
        frozen = self.record.backbone.sha256 if self.record.backbone else self.record.design
        return json_sha256([frozen, self.record.method, tile, learned])

    def predict(self, image: np.ndarray | Image.Image | Path | str) -> np.ndarray:
        """Return the mask (H W, bool) of an image.

        Args:
            image: Array (H W or H W C, of integers or floats), PIL image, or path of a file. It is scaled as the
                training images were; an array of uint8 with three channels is not scaled.

        Raises:
            SpecialistError: The input is not an image, or its channels differ from those of the training images.
            DatasetError: The file cannot be read.
        """
        return self.model.predict(as_image(image, self.record.data.reading))

    def probability(self, image: np.ndarray | Image.Image | Path | str) -> np.ndarray:
        """Return the probability of foreground (H W, float32, 0 to 1) in an image; see `predict`."""
        return self.model.probability(as_image(image, self.record.data.reading))


def save(folder: Path, specialist: Specialist) -> None:
    """Save a specialist in an existing folder. specialist.json is written last, so a folder with it is complete."""
    write_bytes(folder / WEIGHTS_FILE, _learned(specialist.model))
    write_text(folder / RECORD_FILE, to_json(specialist.record, indent=2))


def load_specialist(
    folder: Path | str, *, backbone: str | None = None, device: str | None = None, tile: int | None = None
) -> Specialist:
    """Load a specialist that `fit` wrote.

    Args:
        folder: Folder of the specialist.
        backbone: Path of the checkpoint if it was moved; its hash must be the same.
        device: Device, such as "cpu" or "cuda:0". Default: the GPU if there is one.
        tile: Side of a tile in px of the image, instead of the value that is saved with the specialist. Half of that
            value shows the objects to the network twice as large.

    Raises:
        SpecialistError: The folder is not a specialist or is damaged, its backbone is not available, or it has no
            tiles or no backbone but `tile` or `backbone` is given.
    """
    folder = Path(folder)
    record = read_record(folder)
    if tile is not None:
        if record.scale is None:
            raise SpecialistError(f"{folder} does not cut images into tiles. Remove --tile.")
        record = replace(record, scale=replace(record.scale, tile=tile))
    if record.backbone is None and backbone is not None:
        raise SpecialistError(f"{folder} does not use a backbone. Remove --backbone.")
    loaded_backbone = _backbone(folder, record.backbone, backbone) if record.backbone else None
    try:
        method = registry.method(str(record.method["name"]))
        model = method.rebuild(record.method, record.design, record.scale, loaded_backbone, device or default_device())
    except (ConfigError, KeyError, TypeError, ValueError):
        raise SpecialistError(f"{folder / RECORD_FILE} is damaged. Run fit again.") from None
    _load_weights(model, folder / WEIGHTS_FILE)
    return Specialist(model, record)


def read_record(folder: Path) -> SpecialistRecord:
    """Read specialist.json.

    Raises:
        SpecialistError: The file does not exist, is damaged, or has another format version.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise SpecialistError(
            f"{folder} is not a finished specialist: it has no {RECORD_FILE}.\nTo make one, run: ptsam-auto fit DIR"
        )
    try:
        return from_json(SpecialistRecord, path.read_bytes())
    except RecordError as error:
        other = _other_format(path)
        if other is not None:
            raise SpecialistError(
                f"{path} has format {other}, but this version of ptsam-auto reads format {FORMAT}.\n"
                "Use the version of ptsam-auto that wrote it, or run fit again."
            ) from None
        raise SpecialistError(f"{path} is damaged ({error}). Run fit again.") from None


def default_device() -> str:
    """Return "cuda" if a GPU is available, otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class _OnlyFormat:
    """The one field that exists in every format version."""

    format: int


def _other_format(path: Path) -> int | None:
    """Return the format version of a record if it differs from FORMAT, otherwise None."""
    try:
        file_format = from_json(_OnlyFormat, path.read_bytes()).format
    except RecordError:
        return None
    return file_format if file_format != FORMAT else None


def _learned(model: Model) -> bytes:
    return serialise({name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable().items()})


def _backbone(folder: Path, expected: BackboneRecord, path: str | None) -> Backbone:
    try:
        backbone = find(expected.name, expected.sha256) if path is None else load(path)
    except BackboneError as error:
        raise SpecialistError(
            f"{folder} cannot be used: {error}\n"
            "Give the checkpoint that it was trained with (--backbone FILE), or run fit again."
        ) from None
    if backbone.sha256 != expected.sha256:
        raise SpecialistError(
            f"{folder} was trained with the backbone {expected.name} (SHA-256 {expected.sha256[:12]}...), but "
            f"{path} has the SHA-256 {backbone.sha256[:12]}....\nGive the checkpoint that it was trained with."
        )
    return backbone


def _load_weights(model: Model, path: Path) -> None:
    parameters = model.trainable()
    try:
        learned = load_file(path)
    except (OSError, SafetensorError):
        learned = {}
    if {name: t.shape for name, t in learned.items()} != {name: t.shape for name, t in parameters.items()}:
        raise SpecialistError(f"{path} is damaged or does not belong to its {RECORD_FILE}. Run fit again.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(learned[name])
