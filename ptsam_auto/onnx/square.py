"""A specialist as one network with a square input of fixed size, for programs that only run networks.

Everything that `Specialist.probability` does with an image of that size is in the network: cutting into tiles, scaling,
normalisation, encoder, decoder, blending, and the mean over the members.
"""

# B images  C channels of the input  T side of the input, px  t side of a tile, px  S input side of a backbone, px
# N tiles of one image, in row-major order

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.errors import SpecialistError
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.image_encoder import encode
from ptsam_auto.sam.tiles import ramp
from ptsam_auto.specialist.artifact import Specialist

MOST_CHANNELS = 3


class SquareSpecialist(nn.Module):
    """Maps images, B C T T, float32, 0 to 255, to the foreground probability, B 1 T T, float32, 0 to 1.

    One channel is shown to the networks as grey; two are red and green, and blue is 0.

    Args:
        specialist: Specialist whose members are all based on SAM.
        side: T.

    Raises:
        SpecialistError: A member is not based on SAM.
    """

    def __init__(self, specialist: Specialist, side: int) -> None:
        super().__init__()
        if specialist.classes:
            raise SpecialistError("A package for bioimage.io has one class; this specialist has several.")
        models = [model for model in specialist.model.models if isinstance(model, PromptFreeSam)]
        if len(models) < len(specialist.model.models):
            raise SpecialistError("Only methods on SAM can be exported; this specialist has another one.")
        self._members = nn.ModuleList(_Member(model, side) for model in models)
        self._weights = specialist.model.weights

    def forward(self, images_BCTT: Tensor) -> Tensor:
        """Return the mean probability of the members."""
        channels = images_BCTT.shape[1]
        if channels == 1:
            images_BCTT = images_BCTT.expand(-1, MOST_CHANNELS, -1, -1)
        elif channels < MOST_CHANNELS:
            images_BCTT = F.pad(images_BCTT, (0, 0, 0, 0, 0, MOST_CHANNELS - channels))
        parts = [weight * member(images_BCTT) for member, weight in zip(self._members, self._weights, strict=True)]
        return torch.stack(parts).sum(dim=0)


class _Member(nn.Module):
    """One member of the mixture."""

    _scaling: Tensor
    _ramp: Tensor
    _blended: Tensor

    def __init__(self, model: PromptFreeSam, side: int) -> None:
        super().__init__()
        self._model, self._side = model, side
        boxes = model.tiling.boxes(side, side, model.image_size)
        self._corners = [(rows.start, columns.start) for rows, columns in boxes]
        self._tile = boxes[0][0].stop - boxes[0][0].start
        self._inside = model.tiling.frame(self._tile, self._tile, model.image_size)
        scaling, ramps = _scaling(self._tile, self._inside[0]), ramp(self._tile, self._tile)
        blended = np.zeros((side, side), np.float32)
        for box in boxes:
            blended[box] += ramps
        self.register_buffer("_scaling", torch.from_numpy(scaling), persistent=False)
        self.register_buffer("_ramp", torch.from_numpy(ramps), persistent=False)
        self.register_buffer("_blended", torch.from_numpy(blended), persistent=False)

    def forward(self, images_B3TT: Tensor) -> Tensor:
        """Return the probability, B 1 T T."""
        size, tile = self._model.image_size, self._tile
        tiles = [images_B3TT[..., y : y + tile, x : x + tile] for y, x in self._corners]
        inputs = _normalised(self._model, self._scaled(torch.cat(tiles)))
        rest = size - self._inside[0]
        features = encode(self._model.sam.image_encoder, F.pad(inputs, (0, rest, 0, rest)), self._model.encoder_prompts)
        logits = self._model.decode(features)[:, None]
        full = F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
        cropped = full[..., : self._inside[0], : self._inside[1]]
        parts = F.interpolate(cropped, (tile, tile), mode="bilinear", align_corners=False).sigmoid() * self._ramp
        parts_NB1tt = parts.reshape(len(self._corners), -1, 1, tile, tile)
        total = torch.zeros_like(images_B3TT[:, :1])
        for number, (y, x) in enumerate(self._corners):
            margins = (x, self._side - x - tile, y, self._side - y - tile)
            total = total + F.pad(parts_NB1tt[number], margins)
        return total / self._blended

    def _scaled(self, tiles_B3tt: Tensor) -> Tensor:
        """Return the tiles at the size at which the backbone sees them, rounded as 8-bit images are."""
        if self._inside[0] == self._tile:
            return tiles_B3tt
        return (self._scaling @ tiles_B3tt @ self._scaling.T).round().clamp(0, 255)


def _scaling(tile: int, size: int) -> np.ndarray:
    """Return the matrix that scales one axis as `resampling.resize_image` does, size tile, float32."""
    interpolation = cv2.INTER_AREA if size < tile else cv2.INTER_LINEAR
    return cv2.resize(np.eye(tile, dtype=np.float32), (tile, size), interpolation=interpolation)


def _normalised(model: PromptFreeSam, tiles_B3hw: Tensor) -> Tensor:
    """Normalise each tile as `sam.pixels.normalised` does."""
    if model.sam.pixels == "own range":
        low, high = tiles_B3hw.amin((1, 2, 3), keepdim=True), tiles_B3hw.amax((1, 2, 3), keepdim=True)
        return (tiles_B3hw - low) / (high - low).clamp(min=1)
    return (tiles_B3hw - model.sam.pixel_mean) / model.sam.pixel_std


def side_of(specialist: Specialist) -> int:
    """Return T: the side of the largest tile of a member, px; for a relative scale, that of the largest training image.

    Raises:
        SpecialistError: A member has no scale, so it is not based on SAM.
    """
    scales = [member.scale for member in specialist.record.members]
    if any(scale is None for scale in scales):
        raise SpecialistError("Only methods on SAM can be exported; this specialist has another one.")
    return max(scale.tile or scale.largest for scale in scales if scale)


def channels_of(specialist: Specialist) -> int:
    """Return C, 1 to 3: the number of channels of the training images that the networks see; 3 if they differ."""
    reading = specialist.record.data.reading
    return len(reading.channels) or min(reading.stored or MOST_CHANNELS, MOST_CHANNELS)


def stacked(images: Sequence[np.ndarray], channels: int) -> np.ndarray:
    """Return images (each T T 3, uint8, RGB) as the input of the network, B C T T, float32."""
    return np.stack([image[..., :channels] for image in images]).transpose(0, 3, 1, 2).astype(np.float32)
