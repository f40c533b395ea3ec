"""Predicts with an exported specialist. It needs numpy, OpenCV, pydantic and onnxruntime, and neither torch nor SAM.

specialist = OnnxSpecialist("exported")
mask = specialist.predict(image)  # H W 3 uint8, RGB -> H W bool
"""

# H W  size of an image, px  S  input side of a network, px  h w  size of a scaled tile inside that square, px
# G  patches per side

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptsam_auto.errors import SpecialistError
from ptsam_auto.metrics.classes import decided, number_of
from ptsam_auto.records import RecordError, read_json
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.tiles import Tiling, ramp

ABOUT_FILE = "onnx.json"
FORMAT = 1
LARGEST_INPUT = 4096  # px, side of the input of a network
MOST_TILES = 1000  # along the longer side of an image


@dataclass(frozen=True)
class ExportedMember:
    """A member of an exported specialist, and how it sees an image.

    Args:
        name: Name of the member.
        weight: Weight of its probabilities in the mixture, 0 to 1.
        encoder: Name of the file of its encoder, in the folder of the export.
        decoder: Name of the file of its decoder.
        image_size: S, input side of the encoder, px.
        pixels: "own range" or "mean and deviation", by which pixels are normalised.
        mean: Mean of each channel, 0 to 255.
        deviation: Standard deviation of each channel, above 0.
        tiles: Number of tiles along the longer side of an image; see `sam.tiles.Tiling`.
        tile: Side of a tile in px of the image, or None.

    Raises:
        SpecialistError: A value is outside its range, or a file is not in the folder of the export.
    """

    name: str
    weight: float
    encoder: str
    decoder: str
    image_size: int
    pixels: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    tiles: int
    tile: int | None

    def __post_init__(self) -> None:
        for file in (self.encoder, self.decoder):
            if not file.endswith(".onnx") or Path(file).name != file:
                raise SpecialistError(f"{file!r} is not the name of a network of the export")
        in_range = {
            "weight": 0 <= self.weight <= 1,
            "image_size": 1 <= self.image_size <= LARGEST_INPUT,
            "deviation": all(value > 0 for value in self.deviation),
            "tiles": 1 <= self.tiles <= MOST_TILES,
            "tile": self.tile is None or self.tile >= 1,
        }
        if wrong := [name for name, holds in in_range.items() if not holds]:
            raise SpecialistError(f"{wrong[0]} is {getattr(self, wrong[0])}, which is out of range")


@dataclass(frozen=True)
class ExportRecord:
    """The complete onnx.json.

    Args:
        format: Format version of this file.
        threshold: Probability above which a pixel is foreground.
        classes: Names of several classes, in the order of their numbers; () for a single class.
        members: The members of the mixture, at least one.
        specialist: Identity of the specialist.
        reading: How image files were read for the training.
        quantised: Whether matrices are 8-bit integers.
        versions: Versions of the packages that made the export.
        compared: Comparison with PyTorch; see `export.Comparison`.

    Raises:
        SpecialistError: The format is unknown, there is no member, or the threshold is out of range.
    """

    format: int
    threshold: float
    classes: tuple[str, ...]
    members: tuple[ExportedMember, ...]
    specialist: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    quantised: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    compared: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise SpecialistError(f"it has format {self.format}; expected {FORMAT}. Export it again")
        if not self.members:
            raise SpecialistError("it has no members")
        if not 0 < self.threshold < 1:
            raise SpecialistError(f"threshold is {self.threshold}, which is out of range")


class OnnxSpecialist:
    """A specialist that `ptsam-auto export --onnx` has written.

    Args:
        folder: Folder of the export.
        threads: Number of threads, or None for all cores.

    Raises:
        SpecialistError: The folder is not an export, or onnxruntime is not installed.
    """

    def __init__(self, folder: Path | str, threads: int | None = None) -> None:
        self._folder, self._threads = Path(folder), threads
        try:
            self.about = read_json(ExportRecord, self._folder / ABOUT_FILE)
        except (OSError, RecordError) as error:
            raise SpecialistError(f"{folder} is not an exported specialist: {error}.") from None
        self._networks: dict[str, Any] = {}

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool or class numbers) of an image (H W 3, uint8, RGB)."""
        return decided(self.probability(image), self.about.threshold)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of several classes, in the order of their numbers; () for a single class."""
        return self.about.classes

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W or C H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""
        total = np.zeros((number_of(self.classes), *image.shape[:2]), np.float32)
        features: dict[tuple[str, Tiling], list[np.ndarray]] = {}
        for member in self.about.members:
            tiling = Tiling(member.tiles, member.tile)
            key = (member.encoder, tiling)
            if key not in features:
                features[key] = self._features(image, member, tiling)
            total += np.float32(member.weight) * self._blended(image.shape[:2], member, tiling, features[key])
        return total if self.classes else total[0]

    def _features(self, image: np.ndarray, member: ExportedMember, tiling: Tiling) -> list[np.ndarray]:
        """Return the features of each tile, 1 256 G G."""
        size, encoded = member.image_size, []
        for box in tiling.boxes(image.shape[0], image.shape[1], size):
            tile = image[box]
            inside = tiling.frame(tile.shape[0], tile.shape[1], size)
            encoded.append(self._run(member.encoder, _to_input(resize_image(tile, *inside), member)))
        return encoded

    def _blended(
        self, shape: tuple[int, int], member: ExportedMember, tiling: Tiling, features: list[np.ndarray]
    ) -> np.ndarray:
        """Decode the tiles and blend them to maps of the probability, C H W."""
        size, weight = member.image_size, np.zeros(shape, np.float32)
        total = np.zeros((number_of(self.classes), *shape), np.float32)
        for box, tile_features in zip(tiling.boxes(*shape, size), features, strict=True):
            rows, columns = weight[box].shape
            decoded = self._run(member.decoder, tile_features)[0]
            inside = tiling.frame(rows, columns, size)
            scaled = [
                _scaled(logits, size, inside, (rows, columns)) for logits in decoded.reshape(-1, *decoded.shape[-2:])
            ]
            tile_weight = ramp(rows, columns)
            total[:, *box] += tile_weight * _probabilities(np.stack(scaled))
            weight[box] += tile_weight
        return total / weight

    def _run(self, file: str, values: np.ndarray) -> np.ndarray:
        if file not in self._networks:
            self._networks[file] = self._session(self._folder / file)
        return self._networks[file].run(None, {INPUT: values})[0]

    def _session(self, path: Path) -> Any:  # noqa: ANN401 - onnxruntime has no types
        runtime = self._runtime
        options = runtime.SessionOptions()
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common error type.
            raise SpecialistError(f"{path} cannot be loaded: {error}. Export the specialist again.") from None

    @cached_property
    def _runtime(self) -> Any:  # noqa: ANN401 - onnxruntime has no types
        try:
            import onnxruntime
        except ImportError:
            raise SpecialistError("onnxruntime is not installed. Install it: pip install onnxruntime") from None
        return onnxruntime


INPUT = "input"  # name of the input of each network


def _to_input(pixels_hw3: np.ndarray, member: ExportedMember) -> np.ndarray:
    """Return the input of the encoder for a scaled tile: normalised and padded, 1 3 S S float32."""
    values: np.ndarray = pixels_hw3.astype(np.float32)
    if member.pixels == "own range":
        low, high = values.min(), values.max()
        values = (values - low) / max(high - low, np.float32(1))
    else:
        values = (values - np.array(member.mean, np.float32)) / np.array(member.deviation, np.float32)
    height, width = pixels_hw3.shape[:2]
    square = np.zeros((1, 3, member.image_size, member.image_size), np.float32)
    square[0, :, :height, :width] = values.transpose(2, 0, 1)
    return square


def _scaled(logits: np.ndarray, size: int, inside: tuple[int, int], original: tuple[int, int]) -> np.ndarray:
    """Scale the logits of a tile to its size in the image; see `sam.preprocess.to_original`."""
    full = cv2.resize(logits, (size, size), interpolation=cv2.INTER_LINEAR)
    cropped = np.ascontiguousarray(full[: inside[0], : inside[1]])
    return cv2.resize(cropped, original[::-1], interpolation=cv2.INTER_LINEAR)


def _probabilities(logits_CHW: np.ndarray) -> np.ndarray:
    """Return the probability of each class; see `methods.prompt_free.class_probabilities`."""
    largest = np.maximum(logits_CHW.max(axis=0), 0)
    parts = np.exp(logits_CHW - largest)
    return parts / (parts.sum(axis=0) + np.exp(-largest))
