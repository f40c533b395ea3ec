"""Exports a specialist as ONNX: an encoder per backbone, and a decoder per member with its prompts baked in."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ptsam_auto.errors import SpecialistError
from ptsam_auto.extras import require
from ptsam_auto.files import replacing, write_json
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.metrics.classes import DEFAULT_THRESHOLD, decided
from ptsam_auto.onnx.runtime import ABOUT_FILE, FORMAT, INPUT, ExportedMember, ExportRecord, OnnxSpecialist
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.network import SamNetwork
from ptsam_auto.sam.precision import full_precision
from ptsam_auto.specialist.artifact import Specialist

OUTPUT = "output"
LARGEST_BATCH = 64
LARGEST_TENSOR = 2**31  # numbers; all weights are compared
LEAST_DICE = 0.999  # between the masks of PyTorch and of the export, without quantisation


@dataclass(frozen=True)
class Comparison:
    """The export compared with PyTorch in float32 on some images.

    Args:
        images: Number of images.
        difference: Largest difference of the foreground probability in any pixel, 0 to 1.
        dice: Dice between the masks of both, over all images together.
    """

    images: int
    difference: float
    dice: float

    @classmethod
    def of(cls, ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray]) -> "Comparison":
        """Compare the probabilities of PyTorch (each H W or C H W, 0 to 1) with those of the export."""
        images, difference, both, sizes = 0, 0.0, 0, 0
        for our, their in zip(ours, theirs, strict=True):
            images += 1
            difference = max(difference, float(np.abs(our - their).max()))
            masks = decided(our), decided(their)
            both += int(((masks[0] == masks[1]) & (masks[0] > 0)).sum())
            sizes += int((masks[0] > 0).sum() + (masks[1] > 0).sum())
        return cls(images, difference, 2 * both / sizes if sizes else 1.0)


def export(folder: Path, specialist: Specialist, images: Sequence[np.ndarray], *, quantise: bool = False) -> Comparison:
    """Write the networks and onnx.json, and compare them with PyTorch.

    The networks take a batch of any size up to 64. onnx.json says how an image is cut into tiles, scaled, normalised
    and blended; `runtime.OnnxSpecialist` does it.

    Args:
        folder: Folder of the export, which exists.
        specialist: Specialist whose members are all based on SAM.
        images: Images for the comparison, H W 3, uint8, RGB, at least one.
        quantise: Whether matrices are stored and multiplied as 8-bit integers.

    Raises:
        PtsamError: A package is missing.
        SpecialistError: A member is not based on SAM, or the export does not give the masks of PyTorch.
        OSError: A file cannot be written.
    """
    require("onnx", "export --onnx")
    encoders: dict[object, str] = {}
    members = []
    for number, (model, weight) in enumerate(zip(specialist.model.models, specialist.model.weights, strict=True)):
        if not isinstance(model, PromptFreeSam):
            raise SpecialistError("Only methods on SAM can be exported; this specialist has another one.")
        key: object = id(model.sam) if model.encoder_is_frozen else number
        if key not in encoders:
            encoders[key] = f"encoder-{len(encoders)}.onnx"
            square = torch.zeros(2, 3, model.image_size, model.image_size, device=model.device)
            write_network(folder / encoders[key], _Encoder(model), square, quantise)
        decoder = f"decoder-{number}.onnx"
        with torch.no_grad():
            features = _Encoder(model)(torch.zeros(2, 3, model.image_size, model.image_size, device=model.device))
        write_network(folder / decoder, _Decoder(model), features, quantise)
        members.append(_described(model, weight, specialist.record.members[number].name, encoders[key], decoder))
    about = ExportRecord(
        format=FORMAT,
        threshold=DEFAULT_THRESHOLD,
        classes=tuple(specialist.classes),
        members=tuple(members),
        specialist=specialist.identity,
        reading=asdict(specialist.record.data.reading),
        quantised=quantise,
        versions={package: version(package) for package in ("ptsam-auto", "torch", "onnx")},
    )
    write_json(folder / ABOUT_FILE, asdict(about))
    exported = OnnxSpecialist(folder)
    with full_precision():
        compared = Comparison.of(map(specialist.model.probability, images), map(exported.probability, images))
    if not quantise and compared.dice < LEAST_DICE:
        raise SpecialistError(
            f"The export does not give the masks of PyTorch: Dice {compared.dice:.4f} between both on "
            f"{compared.images} images; expected at least {LEAST_DICE}. Please report this with {folder / ABOUT_FILE}."
        )
    write_json(folder / ABOUT_FILE, asdict(replace(about, compared=asdict(compared))))
    return compared


class _Encoder(nn.Module):
    def __init__(self, model: PromptFreeSam) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """In float32, also where the CPU would have a lower precision."""
        return encode(self.model.sam.image_encoder, images_B3SS, self.model.encoder_prompts)


class _Decoder(nn.Module):
    def __init__(self, model: PromptFreeSam) -> None:
        super().__init__()
        self.model = model

    def forward(self, features_B256GG: Tensor) -> Tensor:
        return self.model.decode(features_B256GG)


def write_network(path: Path, network: nn.Module, batch_of_two: Tensor, quantise: bool) -> None:
    """Write a network as ONNX, atomically, for batches of 1 to 64; its tensors are called "input" and "output"."""
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    with replacing(path) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter warns about packages that it does not need here.
        from onnx_ir.passes.common import DeduplicateInitializersPass

        exported = torch.onnx.export(
            network.eval(),
            (batch_of_two,),
            dynamic_shapes=({0: batch},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            verbose=False,
        )
        assert exported is not None
        # Members on one backbone have its weights in common, which the exporter writes once for each of them.
        DeduplicateInitializersPass(size_limit=LARGEST_TENSOR)(exported.model)
        if not quantise:
            exported.save(unfinished)
            return
        from onnxruntime.quantization import QuantType, quantize_dynamic

        whole = unfinished.with_suffix(".whole")
        exported.save(whole)
        try:
            quantize_dynamic(whole, unfinished, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
        finally:
            whole.unlink()


def _described(model: PromptFreeSam, weight: float, name: str, encoder: str, decoder: str) -> ExportedMember:
    sam = cast(SamNetwork, model.sam)
    return ExportedMember(
        name=name,
        weight=weight,
        encoder=encoder,
        decoder=decoder,
        image_size=model.image_size,
        pixels=sam.pixels,
        mean=_by_channel(sam.pixel_mean),
        deviation=_by_channel(sam.pixel_std),
        tiles=model.tiling.per_side,
        tile=model.tiling.side,
    )


def _by_channel(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = values.flatten().tolist()
    return red, green, blue
