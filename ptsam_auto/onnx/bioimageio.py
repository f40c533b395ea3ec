"""Writes a specialist as a model package of bioimage.io (version 0.5), for ilastik, deepImageJ, QuPath and others.

The package is a ZIP file with a description (rdf.yaml), the network as ONNX, a test image with the answer of the
network to it, and a README. The test image is rendered, so no image of the user leaves with the package.
"""

import hashlib
import io
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from ptsam_auto.data.reading import EACH, FIXED, ImageReading
from ptsam_auto.data.render import render_example
from ptsam_auto.errors import SpecialistError
from ptsam_auto.extras import require
from ptsam_auto.files import replacing
from ptsam_auto.onnx.export import LEAST_DICE, Comparison, write_network
from ptsam_auto.onnx.runtime import INPUT
from ptsam_auto.onnx.square import SquareSpecialist, channels_of, side_of, stacked
from ptsam_auto.sam.precision import full_precision
from ptsam_auto.sam.tiles import OVERLAP
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.record import SpecialistRecord

FORMAT_VERSION = "0.5.4"  # every field is known to it; newer readers accept it
DESCRIPTION, NETWORK, README = "rdf.yaml", "network.onnx", "README.md"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
# Scaling inside the network rounds some pixels of 8 bits to the neighbouring value, other than OpenCV does.
LEAST_DICE_WITH_SCALING = 0.95
LARGEST_BYTES = 2_000_000_000  # of an ONNX file, without a second file for the weights
DARKEST, BRIGHTEST = 0.1, 99.9  # percentiles, as in `data.reading`
CHANNEL_NAMES = {1: ["grey"], 2: ["red", "green"], 3: ["red", "green", "blue"]}
PAPER = {
    "text": "Piater, Barz and Freytag 2025: Prompt-Tuning SAM: From Generalist to Specialist with Only 2,048 "
    "Parameters and 16 Training Images. CVPR Workshops.",
    "doi": "10.1109/CVPRW67362.2025.00455",
}
SAM = {"text": "Kirillov et al. 2023: Segment Anything.", "url": "https://arxiv.org/abs/2304.02643"}
# Licences of the weights that are inside the package, as in the file NOTICE of ptsam-auto, and what to cite for them.
LICENCES = {
    "nano": "MIT, the PTSAM-auto authors",
    "vit_b": "Apache-2.0, Meta Platforms, Inc.",
    "vit_l": "Apache-2.0, Meta Platforms, Inc.",
    "vit_h": "Apache-2.0, Meta Platforms, Inc.",
    "lite_medsam": "Apache-2.0, https://github.com/bowang-lab/MedSAM, branch LiteMedSAM",
    "mobile_sam": "Apache-2.0, https://github.com/ChaoningZhang/MobileSAM",
}
CITED = {
    "lite_medsam": {
        "text": "Ma et al. 2024: Segment anything in medical images. Nature Communications 15, 654.",
        "doi": "10.1038/s41467-024-44824-z",
    },
    "mobile_sam": {
        "text": "Zhang et al. 2023: Faster Segment Anything: Towards Lightweight SAM for Mobile Applications.",
        "url": "https://arxiv.org/abs/2306.14289",
    },
}


def export_package(path: Path, specialist: Specialist, *, quantise: bool = False) -> Comparison:
    """Write the package atomically, after its network is compared with PyTorch on the test image.

    Args:
        path: The ZIP file; its folder exists.
        specialist: Specialist whose members are all based on SAM.
        quantise: Whether matrices are stored and multiplied as 8-bit integers.

    Raises:
        PtsamError: A package is missing.
        SpecialistError: A member is not based on SAM, the network is too large, or it does not give the masks of
            PyTorch.
        OSError: The file cannot be written.
    """
    require("onnx", "export --bioimageio")
    side, channels = side_of(specialist), channels_of(specialist)
    network = SquareSpecialist(specialist, side)
    if sum(tensor.nbytes for tensor in network.state_dict().values()) > LARGEST_BYTES:
        raise SpecialistError("The backbones of this specialist are larger than 2 GB, which one ONNX file cannot hold.")
    image = cv2.resize(render_example(0).image, (side, side), interpolation=cv2.INTER_AREA)
    test_input = stacked([image], channels)
    with TemporaryDirectory() as folder:
        onnx_file = Path(folder) / NETWORK
        write_network(onnx_file, network, torch.from_numpy(np.repeat(test_input, 2, axis=0)), quantise)
        test_output = _answer(onnx_file, test_input)
        with full_precision(), torch.no_grad():
            compared = Comparison.of([specialist.model.probability(image)], [test_output[0, 0]])
            of_network = Comparison.of([network(torch.from_numpy(test_input))[0, 0].numpy()], [test_output[0, 0]])
        if not quantise and (of_network.dice < LEAST_DICE or compared.dice < LEAST_DICE_WITH_SCALING):
            raise SpecialistError(
                f"The export does not give the mask of PyTorch: Dice {of_network.dice:.4f} between both on a rendered "
                f"image, and {compared.dice:.4f} with the scaling of the image; expected at least {LEAST_DICE} and "
                f"{LEAST_DICE_WITH_SCALING}. Please report this."
            )
        files = {
            TEST_INPUT: _npy(test_input),
            TEST_OUTPUT: _npy(test_output),
            README: _readme(specialist, side, compared, quantise=quantise).encode(),
            NETWORK: onnx_file.read_bytes(),
        }
        described = _description(specialist, side, channels, compared, quantise, opset_of(onnx_file))
        for part in _parts(described):
            part["sha256"] = hashlib.sha256(files[part["source"]]).hexdigest()
        text = yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=120)
        with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as package:
            for name, content in ({DESCRIPTION: text.encode()} | files).items():
                package.writestr(name, content)
    return compared


def is_package(path: Path) -> bool:
    """Return whether a file is a model package of bioimage.io."""
    try:
        with zipfile.ZipFile(path) as package:
            return DESCRIPTION in package.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def opset_of(network: Path) -> int:
    """Return the version of ONNX's operators that a network needs."""
    import onnx

    return max(entry.version for entry in onnx.load(network).opset_import if entry.domain in ("", "ai.onnx"))


def _answer(network: Path, images: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes from images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: images})[0]


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _description(
    specialist: Specialist, side: int, channels: int, compared: Comparison, quantised: bool, opset: int
) -> dict[str, Any]:
    record = specialist.record
    backbones = _backbones(record)
    halo = round(side * OVERLAP / 2)
    space = [{"type": "space", "id": axis, "size": side} for axis in "yx"]
    same = [{"type": "space", "id": axis, "size": {"tensor_id": INPUT, "axis_id": axis}, "halo": halo} for axis in "yx"]
    return {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": f"PTSAM specialist {specialist.identity[:12]}",
        "description": f"Segments one kind of object; made from {len(record.data.train)} annotated images with "
        "PTSAM-auto (prompts on a frozen Segment Anything Model).",
        "timestamp": record.created,
        "tags": ["segmentation", "semantic-segmentation", "2d", "segment-anything", "ptsam"],
        "cite": [PAPER, SAM, *(CITED[name] for name in backbones if name in CITED)],
        "documentation": {"source": README},
        "inputs": [
            {
                "id": INPUT,
                "description": f"Image of {side} x {side} px as the network sees it, 0 to 255.",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": CHANNEL_NAMES[channels]}, *space],
                "data": {"type": "float32", "range": [0.0, 255.0]},
                "preprocessing": _preprocessing(record.data.reading, channels),
                "test_tensor": {"source": TEST_INPUT},
            }
        ],
        "outputs": [
            {
                "id": "output",
                "description": "Probability of foreground, 0 to 1. Above 0.5 is the mask that ptsam-auto predicts.",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["foreground"]}, *same],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": {"source": TEST_OUTPUT},
            }
        ],
        "weights": {"onnx": {"source": NETWORK, "opset_version": opset}},
        "config": {
            "ptsam_auto": {
                "specialist": specialist.identity,
                "training_images": record.data.fingerprint,
                "members": [
                    {
                        "name": member.name,
                        "weight": member.weight,
                        "backbone": member.backbone.name if _is_public(member.backbone.name) else "own checkpoint",
                        "backbone_sha256": member.backbone.sha256,
                        "tile": member.scale.tile if member.scale else None,
                    }
                    for member in record.members
                    if member.backbone
                ],
                "expected_dice": asdict(record.scores.expected) if record.scores.expected else None,
                "quantised": quantised,
                "compared": asdict(compared),
                "versions": {package: version(package) for package in ("ptsam-auto", "torch", "onnx")},
            }
        },
    }


def _parts(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the description that name a file of the package."""
    tensors = [tensor["test_tensor"] for tensor in (*described["inputs"], *described["outputs"])]
    return [*tensors, described["documentation"], described["weights"]["onnx"]]


def _preprocessing(reading: ImageReading, channels: int) -> list[dict[str, Any]]:
    """Return what other programs do with the values of an image, as far as bioimage.io has a word for it."""
    steps: list[dict[str, Any]] = [{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}]
    if reading.scaling == FIXED:
        low, high = (list(ends) * (channels if len(ends) == 1 else 1) for ends in (reading.low, reading.high))
        gain = [255 / max(top - bottom, 1e-12) for bottom, top in zip(low, high, strict=True)]
        offset = [-bottom * factor for bottom, factor in zip(low, gain, strict=True)]
        per_channel = {"axis": "channel", "gain": gain, "offset": offset}
        alone = {"gain": gain[0], "offset": offset[0]}
        steps.append({"id": "scale_linear", "kwargs": per_channel if channels > 1 else alone})
    elif reading.scaling == EACH:
        percentiles = {"axes": ["y", "x"], "min_percentile": DARKEST, "max_percentile": BRIGHTEST}
        steps.append({"id": "scale_range", "kwargs": percentiles})
        steps.append({"id": "scale_linear", "kwargs": {"gain": 255.0, "offset": 0.0}})
    return [*steps, {"id": "clip", "kwargs": {"min": 0.0, "max": 255.0}}]


def _backbones(record: SpecialistRecord) -> list[str]:
    """Return the names of the backbones, each once; the path of a user's own checkpoint is not named."""
    return list(dict.fromkeys(member.backbone.name for member in record.members if member.backbone))


def _is_public(backbone: str) -> bool:
    return backbone in LICENCES


def _readme(specialist: Specialist, side: int, compared: Comparison, *, quantise: bool) -> str:
    record = specialist.record
    expected = record.scores.expected
    dice = (
        f"cross-fitted on its training images, Dice {100 * expected.dice:.1f} ({100 * expected.low:.1f} to "
        f"{100 * expected.high:.1f}, 95 % interval of the mean) is to be expected on new images of the same kind"
        if expected
        else "it was not cross-fitted, so no Dice is known"
    )
    weights = "\n".join(
        f"- {name if _is_public(name) else 'a checkpoint of the maker'}: "
        f"{LICENCES.get(name, 'ask the maker for its licence')}"
        for name in _backbones(record)
    )
    values = {
        EACH: f"Each image is scaled by its own range: the {DARKEST} and {BRIGHTEST} percentiles of each channel "
        "become 0 and 255. ptsam-auto also leaves out borders and burned-in bars, which this package cannot.",
        FIXED: "All images are scaled by one range, that of the training images.",
    }.get(
        record.data.reading.scaling,
        "8-bit images are taken as they are. Scale images of other types to 0 to 255 before, each channel from its "
        f"{DARKEST} to its {BRIGHTEST} percentile; ptsam-auto does that, and this package cannot.",
    )
    return README_TEXT.format(
        count=len(record.data.train),
        dice=dice,
        side=side,
        halo=round(side * OVERLAP / 2),
        values=values,
        channels=f"{channels_of(specialist)} ({', '.join(CHANNEL_NAMES[channels_of(specialist)])})",
        weights=weights,
        difference=compared.difference,
        compared=compared.dice,
        quantised=" Matrices are stored as 8-bit integers, which changes the masks slightly." if quantise else "",
        identity=specialist.identity,
    )


README_TEXT = """# PTSAM specialist

A network that segments one kind of object in images of one kind. It was made by PTSAM-auto from {count} annotated
images, on a frozen Segment Anything Model; {dice}.

## What the network does

Input: one image of {side} x {side} px, {channels}, 0 to 255.
Output: the probability of foreground in each pixel, 0 to 1; above 0.5 is foreground.

Inside the network are the scaling to the size that the backbone sees, its normalisation, tiles and their blending, the
sigmoid, and the mean over the members.

## What it does not do

- Scaling rounds some pixels to the neighbouring value, other than ptsam-auto does; the comparison below includes that.
- Larger images are cut into overlapping squares of {side} px by the program that runs it; rdf.yaml asks for a margin
  (halo) of {halo} px. ptsam-auto blends squares instead, so masks differ slightly near their borders.
- Smaller images are padded by that program; ptsam-auto pads with zeros after the normalisation.
- {values}
- The objects have to have about the same size in px as in the training images.
- It neither splits touching objects nor applies the threshold.

## Validation

test_input.npy is a rendered image, not one of the training images, and test_output.npy the answer of this network to it
(onnxruntime). Compared with PyTorch on the rendered image: largest difference of the probability {difference:.1g}, Dice
between the masks {compared:.4f}.{quantised} On your own images, compare with masks that were drawn by hand:
`ptsam-auto evaluate` does it for the specialist that this package was made of (identity {identity}).

## Licence

This package contains the weights of

{weights}

and what was learned from the training images, whose terms the maker of the package knows. rdf.yaml names neither
authors nor a licence; add both before you publish the package.
"""
