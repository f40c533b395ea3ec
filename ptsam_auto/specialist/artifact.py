"""The specialist as a small folder: learned tensors, and one JSON file that says all about them.

specialist.json          settings, backbone and its hash, data, scores, versions
specialist.safetensors   what was learned (8 KB for PTSAM's 2,048 numbers)
report.html              the same for people, see `report`
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from ptsam_auto.baselines.nnunet import Nnunet
from ptsam_auto.errors import BackboneError, SpecialistError
from ptsam_auto.methods import registry
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.checkpoint import Backbone, find, load
from ptsam_auto.specialist.predict import probability

Model = PromptFreeSam | Nnunet

ABOUT, LEARNED = "specialist.json", "specialist.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Specialist:
    """A trained specialist, ready to predict.

    Args:
        model: SAM and what was learned, or an nnU-Net.
        about: the contents of specialist.json.
    """

    model: Model
    about: dict[str, Any]

    @cached_property
    def identity(self) -> str:
        """Names all that decides its masks: what was learned, by which method, on which backbone or by which design."""
        learned = hashlib.sha256(_learned(self.model)).hexdigest()
        frozen = self.about["backbone"]["sha256"] if self.about["backbone"] else self.about["design"]
        contents = [frozen, self.about["method"], learned]
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask (H W, bool) of an image (H W 3, uint8, RGB).

        Raises:
            SpecialistError: the array is not such an image.
        """
        return predict(self.model, _checked(image))

    def probability(self, image: np.ndarray) -> np.ndarray:
        """The chance of foreground (H W, float32, 0 to 1) in an image (H W 3, uint8, RGB).

        Raises:
            SpecialistError: the array is not such an image.
        """
        return _chance(self.model, _checked(image))


def predict(model: Model, image: np.ndarray) -> np.ndarray:
    """The mask (H W, bool) of an image (H W 3, uint8, RGB) that needs no checking."""
    return _chance(model, image) > 0.5


def _chance(model: Model, image: np.ndarray) -> np.ndarray:
    return model.probability(image) if isinstance(model, Nnunet) else probability(model, image)


def save(folder: Path, model: Model, about: dict[str, Any]) -> None:
    """Write a specialist; specialist.json comes last, so a folder that has it is whole.

    Args:
        folder: exists.
        model: trained.
        about: backbone (name, sha256), method (its config's fields), and whatever else should be told; JSON types.
    """
    (folder / LEARNED).write_bytes(_learned(model))
    unfinished = folder / f"{ABOUT}.part"
    with unfinished.open("w") as file:
        file.write(json.dumps({"format": FORMAT, **about}, indent=2))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / ABOUT)


def _learned(model: Model) -> bytes:
    return serialise({name: tensor.detach().cpu().contiguous() for name, tensor in model.trainable().items()})


def load_specialist(folder: Path | str, *, backbone: str | None = None, device: str | None = None) -> Specialist:
    """Load a specialist that `fit` wrote.

    Args:
        folder: the specialist's.
        backbone: path of the checkpoint, where it has moved since; its hash must be the same.
        device: as torch names it; by default a GPU if there is one.

    Raises:
        SpecialistError: not a specialist, damaged, or its backbone is not here.
    """
    folder = Path(folder)
    about = _about(folder)
    device = device or default_device()
    if about["backbone"] is None:
        model: Model = _designed(folder, about, backbone, device)
    else:
        sam = _backbone(folder, about["backbone"], backbone).sam
        model = registry.build(sam, registry.config(about["method"]), seed=0).to(device).eval()
    _fill(model, folder / LEARNED)
    return Specialist(model, about)


def _backbone(folder: Path, made_with: dict[str, str], given: str | None) -> Backbone:
    try:
        found = find(made_with["name"], made_with["sha256"]) if given is None else load(given)
    except BackboneError as error:
        raise SpecialistError(
            f"{folder} cannot be used: {error}\n"
            "Give the checkpoint it was made with (--backbone FILE), or fit the specialist again."
        ) from None
    if found.sha256 != made_with["sha256"]:
        raise SpecialistError(
            f"{folder} was made with backbone {made_with['name']} (SHA-256 {made_with['sha256'][:12]}...); "
            f"{given} is {found.sha256[:12]}....\nGive the checkpoint it was made with."
        )
    return found


def _designed(folder: Path, about: dict[str, Any], backbone: str | None, device: str) -> Nnunet:
    if backbone is not None:
        raise SpecialistError(f"{folder} is an nnU-Net and was made with no backbone. Leave out --backbone.")
    try:
        return Nnunet(about["design"], None, device)
    except (KeyError, TypeError, ValueError):
        raise SpecialistError(f"{folder / ABOUT} is damaged; fit the specialist again.") from None


def default_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _checked(image: np.ndarray) -> np.ndarray:
    """Arrays come from anywhere; a grey or 16-bit one would give a mask, and a wrong one."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        shape = " x ".join(map(str, image.shape))
        raise SpecialistError(
            f"The image is {image.dtype}, {shape}; expected uint8, height x width x 3 (RGB).\n"
            "ptsam_auto.data.images.read_image reads any file as that."
        )
    return image


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise SpecialistError(
            f"{folder} is not a finished specialist: it has no {ABOUT}.\nMake one: ptsam-auto fit DIR"
        )
    try:
        about = json.loads(path.read_text())
        version = about["format"]
    except (ValueError, KeyError, TypeError):
        raise SpecialistError(f"{path} is damaged; fit the specialist again.") from None
    if version != FORMAT:
        raise SpecialistError(
            f"{path} has format {version}, this version of ptsam-auto reads {FORMAT}.\n"
            "Use the version that made it, or fit the specialist again."
        )
    return about


def _fill(model: Model, path: Path) -> None:
    wanted = model.trainable()
    try:
        learned = load_file(path)
    except (OSError, SafetensorError):
        learned = {}
    if {name: t.shape for name, t in learned.items()} != {name: t.shape for name, t in wanted.items()}:
        raise SpecialistError(f"{path} is damaged or does not belong to its {ABOUT}; fit the specialist again.")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(learned[name])
