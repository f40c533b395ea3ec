"""Predicts with an exported specialist. It needs numpy, OpenCV and onnxruntime, and neither torch nor the SAM package.

specialist = OnnxSpecialist("exported")
mask = specialist.predict(image)  # H W 3 uint8, RGB -> H W bool
"""

# H W  size of an image, px  S  input side of a network, px  h w  size of a scaled tile inside that square, px
# G  patches per side

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptsam_auto.errors import SpecialistError
from ptsam_auto.metrics.classes import decided, number_of
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.tiles import Tiling, ramp

ABOUT_FILE = "onnx.json"
FORMAT = 1


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
            self.about: dict[str, Any] = json.loads((self._folder / ABOUT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecialistError(f"{folder} is not an exported specialist: {error}.") from None
        if self.about.get("format") != FORMAT:
            raise SpecialistError(
                f"{folder} has format {self.about.get('format')}; expected {FORMAT}. Export it again."
            )
        self._networks: dict[str, Any] = {}

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool or class numbers) of an image (H W 3, uint8, RGB)."""
        return decided(self.probability(image), self.about["threshold"])

    @property
    def classes(self) -> list[str]:
        """Return the names of several classes, in the order of their numbers; [] for a single class."""
        return self.about.get("classes", [])

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W or C H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""
        total = np.zeros((number_of(self.classes), *image.shape[:2]), np.float32)
        features: dict[tuple[str, Tiling], list[np.ndarray]] = {}
        for member in self.about["members"]:
            tiling = Tiling(member["tiles"], member["tile"])
            key = (member["encoder"], tiling)
            if key not in features:
                features[key] = self._features(image, member, tiling)
            total += np.float32(member["weight"]) * self._blended(image.shape[:2], member, tiling, features[key])
        return total if self.classes else total[0]

    def _features(self, image: np.ndarray, member: dict[str, Any], tiling: Tiling) -> list[np.ndarray]:
        """Return the features of each tile, 1 256 G G."""
        size, encoded = member["image_size"], []
        for box in tiling.boxes(image.shape[0], image.shape[1], size):
            tile = image[box]
            inside = tiling.frame(tile.shape[0], tile.shape[1], size)
            encoded.append(self._run(member["encoder"], _to_input(resize_image(tile, *inside), member)))
        return encoded

    def _blended(
        self, shape: tuple[int, int], member: dict[str, Any], tiling: Tiling, features: list[np.ndarray]
    ) -> np.ndarray:
        """Decode the tiles and blend them to maps of the probability, C H W."""
        size, weight = member["image_size"], np.zeros(shape, np.float32)
        total = np.zeros((number_of(self.classes), *shape), np.float32)
        for box, tile_features in zip(tiling.boxes(*shape, size), features, strict=True):
            rows, columns = weight[box].shape
            decoded = self._run(member["decoder"], tile_features)[0]
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


def _to_input(pixels_hw3: np.ndarray, member: dict[str, Any]) -> np.ndarray:
    """Return the input of the encoder for a scaled tile: normalised and padded, 1 3 S S float32."""
    values: np.ndarray = pixels_hw3.astype(np.float32)
    if member["pixels"] == "own range":
        low, high = values.min(), values.max()
        values = (values - low) / max(high - low, np.float32(1))
    else:
        values = (values - np.array(member["mean"], np.float32)) / np.array(member["deviation"], np.float32)
    height, width = pixels_hw3.shape[:2]
    square = np.zeros((1, 3, member["image_size"], member["image_size"]), np.float32)
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
