"""Saves and loads the folder of a specialist: its learned tensors and a JSON description.

specialist.json          settings, backbone and its hash, data, scores, versions; see `record`
specialist.safetensors   learned parameters (8 KB for PTSAM's 2,048 numbers); names begin with the number of the member
folds.safetensors        learned parameters of the cross-fit, for the uncertainty, and a descriptor of each training
                         image, for suggestions; only if they are small
report.html              report for people; see `report`
"""

import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from ptsam_auto import registry
from ptsam_auto.data.images import as_image
from ptsam_auto.device import choose_device
from ptsam_auto.errors import BackboneError, ConfigError, SpecialistError
from ptsam_auto.files import json_sha256, write_bytes, write_text
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.model import Model
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.metrics.classes import decided, number_of
from ptsam_auto.records import RecordError, read_json, to_sealed_json
from ptsam_auto.sam.checkpoint import Backbone, find, load
from ptsam_auto.specialist.layout import FOLDS_FILE, RECORD_FILE, REPORT_FILE, WEIGHTS_FILE, check_finished
from ptsam_auto.specialist.record import FORMAT, BackboneRecord, MemberRecord, SpecialistRecord
from ptsam_auto.specialist.scores import Scores

DESCRIPTORS = "descriptors"  # Name of the tensor of the descriptors, N 512, float16, in the order of data.train.
MAX_FOLDS_BYTES = 4_000_000  # The prompts of four folds are a few KB; whole decoders are not worth their size.


@dataclass(frozen=True)
class Specialist:
    """A trained specialist, ready to predict.

    Args:
        model: The trained models of its members.
        record: Contents of specialist.json.
        folds: The models of the cross-fit, one mixture for each fold; () unless they were asked for.
        tta: Whether a prediction is the mean over all flips and quarter turns; see `sam.turns`.
        folder: Folder in which it is saved, or None.
    """

    model: Mixture
    record: SpecialistRecord
    folds: tuple[Mixture, ...] = ()
    tta: bool = False
    folder: Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers, counted from 1; () for a single class."""
        return self.record.classes

    @property
    def scores(self) -> Scores:
        """Return the scores of the test images if there are any, otherwise those of the cross-fit."""
        return self.record.scores.main

    @property
    def report(self) -> Path | None:
        """Return the path of the report, or None if the specialist is not saved."""
        return self.folder / REPORT_FILE if self.folder else None

    def __repr__(self) -> str:
        """Return one line: the training data, the members and the expected Dice."""
        parts = [f"{name} {value}" if "Dice" in name else value for name, value in self._facts().items()]
        return f"Specialist({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return a table of the same for a notebook, with the warnings and the place of the report."""
        facts = [*self._facts().items(), *(("warning", warning) for warning in self.record.warnings)]
        facts += [("report", str(self.report))] if self.report else []
        rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts)
        return f"<table>{''.join(rows)}</table>"

    def _facts(self) -> dict[str, str]:
        """Return what a reader wants to know of the specialist first, by name."""
        scores = self.record.scores
        facts = {
            "trained on": f"{len(self.record.data.train)} images of {self.record.data.folder}",
            "members": " + ".join(f"{member.name} {100 * member.weight:.0f} %" for member in self.record.members),
        }
        if scores.expected:
            dice = scores.expected
            facts["expected Dice"] = f"{100 * dice.dice:.1f} ({100 * dice.low:.1f} to {100 * dice.high:.1f})"
        if scores.test:
            facts["test Dice"] = f"{100 * scores.test.dice:.1f}"
        return facts

    @cached_property
    def identity(self) -> str:
        """Return a hash that identifies the specialist: learned parameters, methods, and backbones or designs."""
        learned = hashlib.sha256(_learned(self.model)).hexdigest()
        members = [
            [
                member.backbone.sha256 if member.backbone else member.design,
                member.method,
                member.scale.tile if member.scale else None,
                member.weight,
            ]
            for member in self.record.members
        ]
        return json_sha256([members, learned, *(["tta"] if self.tta else []), *self.record.classes])

    def predict(self, image: np.ndarray | Image.Image | Path | str) -> np.ndarray:
        """Return the mask of an image: H W, bool; or with several classes H W, uint8, the number of `classes` or 0.

        Args:
            image: Array (H W or H W C, of integers or floats), PIL image, or path of a file. It is scaled as the
                training images were; an array of uint8 with three channels is not scaled.

        Raises:
            SpecialistError: The input is not an image, or its channels differ from those of the training images.
            DatasetError: The file cannot be read.
        """
        return decided(self.probability(image))

    def probability(self, image: np.ndarray | Image.Image | Path | str) -> np.ndarray:
        """Return the probability of foreground (H W, float32, 0 to 1) in an image; see `predict`.

        With several classes it is the probability of each, C H W; the background has the rest.
        """
        pixels = as_image(image, self.record.data.reading)
        found = self.model.probability(pixels)
        if np.isnan(found).any():  # It would be a mask without foreground.
            raise SpecialistError(
                f"{self.folder or 'The specialist'} gives NaN instead of probabilities, so its learned numbers are "
                "damaged or its training failed.\nRun fit again."
            )
        return found


def save(
    folder: Path,
    specialist: Specialist,
    folds: Sequence[Mapping[str, torch.Tensor]] = (),
    descriptors: np.ndarray | None = None,
) -> None:
    """Save a specialist in an existing folder. specialist.json is written last, so a folder with it is complete.

    Args:
        folder: Existing folder.
        specialist: Specialist to save.
        folds: Learned parameters of each fold of the cross-fit, by name as in `Mixture.trainable`. They are saved only
            if all of them together are small, and if all members are based on SAM.
        descriptors: Descriptor of each training image, N 512, float16; see `methods.appearance`. They are saved with
            the folds.
    """
    files = {WEIGHTS_FILE: _learned(specialist.model)}
    tensors = {f"{number}.{name}": tensor for number, fold in enumerate(folds) for name, tensor in fold.items()}
    on_sam = all(isinstance(model, PromptFreeSam) for model in specialist.model.models)
    if tensors and on_sam and sum(tensor.nbytes for tensor in tensors.values()) <= MAX_FOLDS_BYTES:
        if descriptors is not None:
            tensors[DESCRIPTORS] = torch.from_numpy(descriptors)
        files[FOLDS_FILE] = serialise(tensors)
    for name, content in files.items():
        write_bytes(folder / name, content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_text(folder / RECORD_FILE, to_sealed_json(replace(specialist.record, files=hashes), indent=2))


def load_specialist(
    folder: Path | str,
    *,
    backbone: str | None = None,
    device: str | None = None,
    tile: int | None = None,
    folds: bool = False,
    tta: bool = False,
) -> Specialist:
    """Load a specialist that `fit` wrote.

    Args:
        folder: Folder of the specialist.
        backbone: Path of the checkpoint if it was moved; its hash must be that of a backbone of the specialist.
        device: Device, such as "cpu" or "cuda:0". Default: the GPU if there is one.
        tile: Side of a tile in px of the image, instead of the value that is saved with the specialist. Half of that
            value shows the objects to the network twice as large. In a mixture it is the value of the first member;
            those of the others change by the same factor.
        folds: Whether to load the models of the cross-fit too, for the uncertainty.
        tta: Whether a prediction is the mean over all flips and quarter turns (test-time augmentation). It takes eight
            times as long.

    Raises:
        SpecialistError: The folder is not a specialist or is damaged, its backbone is not available, it has no tiles or
            no backbone but `tile` or `backbone` is given, it has no models of a cross-fit but `folds` is given, or it
            is not based on SAM but `tta` is given.
        ConfigError: This machine does not have the device.
    """
    folder = Path(folder)
    record = read_record(folder)
    if tile is not None:
        record = replace(record, members=_with_tile(folder, record.members, tile))
    backbones = _backbones(folder, record.members, backbone)
    chosen = choose_device(device)
    try:
        models = [_rebuilt(member, backbones, chosen, number_of(record.classes)) for member in record.members]
    except (ConfigError, KeyError, TypeError, ValueError):
        raise SpecialistError(f"{folder / RECORD_FILE} is damaged. Run fit again.") from None
    if tta:
        for one in models:
            if not isinstance(one, PromptFreeSam):
                raise SpecialistError(f"{folder} is not based on SAM, and only SAM is asked for flips. Remove --tta.")
            one.tiling = replace(one.tiling, turned=True)
    model = Mixture(models, [member.weight for member in record.members])
    _load_weights(model, folder / WEIGHTS_FILE, record)
    specialist = Specialist(model, record, tta=tta, folder=folder)
    return replace(specialist, folds=tuple(load_folds(folder, specialist))) if folds else specialist


def load_folds(folder: Path | str, specialist: Specialist) -> list[Mixture]:
    """Load the models of the cross-fit: one mixture for each fold, trained on the images of the other folds.

    Args:
        folder: Folder of the specialist.
        specialist: The loaded specialist; its backbones are used.

    Raises:
        SpecialistError: The folder has no models of a cross-fit, or they are damaged.
    """
    path = Path(folder) / FOLDS_FILE
    if not path.is_file():
        raise SpecialistError(
            f"{folder} has no {FOLDS_FILE}, so its uncertainty is not known.\n"
            "It is saved by fit if the specialist is cross-fitted and its learned parameters are small."
        )
    folds = []
    for number in range(len(specialist.record.data.folds)):
        models = []
        for member, model in zip(specialist.record.members, specialist.model.models, strict=True):
            assert isinstance(model, PromptFreeSam)  # Only these are saved.
            models.append(sam_methods.build_like(model, sam_methods.config(member.method)))
        mixture = Mixture(models, specialist.model.weights)
        _load_weights(mixture, path, specialist.record, f"{number}.")
        folds.append(mixture)
    return folds


def load_descriptors(folder: Path, record: SpecialistRecord) -> np.ndarray:
    """Load the descriptor of each training image, N 512, float16, in the order of `record.data.train`.

    Raises:
        SpecialistError: The folder has no descriptors, or they are damaged.
    """
    path = folder / FOLDS_FILE
    descriptors = _tensors(path, record).get(DESCRIPTORS, torch.zeros(0))
    if descriptors.ndim != 2 or len(descriptors) != len(record.data.train):
        raise SpecialistError(f"{path} has no descriptors of the training images, or is damaged. Run fit again.")
    return descriptors.numpy()


def read_record(folder: Path) -> SpecialistRecord:
    """Read specialist.json.

    Raises:
        SpecialistError: The file does not exist, is damaged, or has another format version.
    """
    check_finished(folder)
    path = folder / RECORD_FILE
    try:
        return read_json(SpecialistRecord, path)
    except RecordError as error:
        other = _other_format(path)
        if other is not None:
            raise SpecialistError(
                f"{path} has format {other}, but this version of ptsam-auto reads format {FORMAT}.\n"
                "Use the version of ptsam-auto that wrote it, or run fit again."
            ) from None
        raise SpecialistError(f"{path} is damaged ({error}). Run fit again.") from None


@dataclass(frozen=True)
class _OnlyFormat:
    """The one field that exists in every format version."""

    format: int


def _other_format(path: Path) -> int | None:
    """Return the format version of a record if it differs from FORMAT, otherwise None."""
    try:
        file_format = read_json(_OnlyFormat, path).format
    except RecordError:
        return None
    return file_format if file_format != FORMAT else None


def _learned(model: Model) -> bytes:
    return serialise({name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable().items()})


def _with_tile(folder: Path, members: tuple[MemberRecord, ...], tile: int) -> tuple[MemberRecord, ...]:
    """Return the members with another tile size: that of the first one, and the others changed by the same factor."""
    scales = [member.scale for member in members]
    first = scales[0]
    if first is None:
        raise SpecialistError(f"{folder} does not cut images into tiles. Remove --tile.")
    if len(members) > 1 and any(scale is None or scale.tile is None for scale in scales):
        raise SpecialistError(f"{folder} is a mixture with a relative scale, which has no tile size. Remove --tile.")
    return tuple(
        replace(member, scale=replace(scale, tile=round(tile * (scale.tile or 1) / (first.tile or 1))))
        if len(members) > 1
        else replace(member, scale=replace(scale, tile=tile))
        for member, scale in zip(members, scales, strict=True)
        if scale is not None
    )


def _rebuilt(member: MemberRecord, backbones: Mapping[str, Backbone], device: str, classes: int) -> Model:
    backbone = backbones[member.backbone.sha256] if member.backbone else None
    method = registry.method(str(member.method["name"]))
    return method.rebuild(member.method, member.design, member.scale, backbone, device, classes)


def _backbones(folder: Path, members: Sequence[MemberRecord], path: str | None) -> dict[str, Backbone]:
    """Load the backbones of the members, by hash. `path` is the new place of one of them, or None."""
    expected = {member.backbone.sha256: member.backbone for member in members if member.backbone}
    if path is None:
        return {sha256: _backbone(folder, record, None) for sha256, record in expected.items()}
    if not expected:
        raise SpecialistError(f"{folder} does not use a backbone. Remove --backbone.")
    if len(expected) == 1:
        return {sha256: _backbone(folder, record, path) for sha256, record in expected.items()}
    moved = _backbone(folder, None, path)
    if moved.sha256 not in expected:
        names = ", ".join(f"{record.name} (SHA-256 {sha256[:12]}...)" for sha256, record in expected.items())
        raise SpecialistError(
            f"{folder} was trained with the backbones {names}, but {path} has the SHA-256 {moved.sha256[:12]}....\n"
            "Give the checkpoint that it was trained with."
        )
    others = {sha256: record for sha256, record in expected.items() if sha256 != moved.sha256}
    return {sha256: _backbone(folder, record, None) for sha256, record in others.items()} | {moved.sha256: moved}


def _backbone(folder: Path, expected: BackboneRecord | None, path: str | None) -> Backbone:
    try:
        if path is None and expected is not None:
            return find(expected.name, expected.sha256)
        backbone = load(str(path))
    except BackboneError as error:
        raise SpecialistError(
            f"{folder} cannot be used: {error}\n"
            "Give the checkpoint that it was trained with (--backbone FILE), or run fit again."
        ) from None
    if expected is not None and backbone.sha256 != expected.sha256:
        raise SpecialistError(
            f"{folder} was trained with the backbone {expected.name} (SHA-256 {expected.sha256[:12]}...), but "
            f"{path} has the SHA-256 {backbone.sha256[:12]}....\nGive the checkpoint that it was trained with."
        )
    return backbone


def _tensors(path: Path, record: SpecialistRecord) -> dict[str, Tensor]:
    """Return the tensors of a file, after a check of its hash; {} if they cannot be read.

    Raises:
        SpecialistError: The file has changed since it was written.
    """
    try:
        content = path.read_bytes()
        expected = record.files.get(path.name)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise SpecialistError(
                f"{path} is damaged: it has changed since fit wrote it (its SHA-256 is not the one in "
                f"{RECORD_FILE}).\nCopy the specialist again from its source, or run fit again."
            )
        return deserialise(content)
    except (OSError, SafetensorError):
        return {}


def _load_weights(model: Model, path: Path, record: SpecialistRecord, prefix: str = "") -> None:
    """Load the learned parameters whose names begin with a prefix."""
    parameters = model.trainable()
    stored = _tensors(path, record)
    learned = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if {name: t.shape for name, t in learned.items()} != {name: t.shape for name, t in parameters.items()}:
        raise SpecialistError(f"{path} is damaged or does not belong to its {RECORD_FILE}. Run fit again.")
    for name, tensor in learned.items():
        if tensor.dtype != parameters[name].dtype or not tensor.isfinite().all():
            kind = str(parameters[name].dtype).removeprefix("torch.")
            raise SpecialistError(
                f"{path} is damaged: {prefix}{name} has not only finite {kind} numbers. Run fit again."
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(learned[name])
