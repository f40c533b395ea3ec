"""The network of all SAM-based methods, which maps images to masks without user prompts."""

# B images  C classes  S input side, px  G patches per side  H W size of an image, px  M models  R maps

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.errors import ConfigError
from ptsam_auto.metrics.classes import decided
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.image_encoder import encode_frozen, encode_tuned
from ptsam_auto.sam.mask_decoder import decode
from ptsam_auto.sam.preprocess import to_input, to_original
from ptsam_auto.sam.published import Sam
from ptsam_auto.sam.tiles import Pixels, Tiling, ramp

WHOLE = Tiling()
TILES_AT_ONCE = 4  # in one pass through the encoder, on a GPU; one tile already occupies a CPU


class PromptFreeSam(nn.Module):
    """A SAM with learned parts. Parameters that require a gradient are trained and saved; all others are frozen.

    `encode` and `decode` are separate, so that the features of a frozen encoder can be computed without gradients and
    cached.

    Args:
        sam: SAM; frozen except for the parameters that the method trains.
        decoder_prompts: Initial decoder prompts, P 256, or those of each of several classes, C P 256, or None.
        encoder_prompts: Initial encoder prompts, L P D (P V for TinyViT), or None.
        mask_token: Index of the one of SAM's four masks that is the output, see `sam.mask_decoder`.
        tiling: Rule by which images are cut into tiles. By default the network sees whole images, as in SAM.
        background_token: Index of the mask for the background, or None.

    Attributes:
        activation_checkpointing: Whether training steps of a tuned encoder keep less in memory, see
            `sam.image_encoder.encode`.
    """

    def __init__(
        self,
        sam: Sam,
        decoder_prompts: Tensor | None = None,
        encoder_prompts: Tensor | None = None,
        mask_token: int = 1,
        tiling: Tiling = WHOLE,
        background_token: int | None = None,
    ) -> None:
        super().__init__()
        self.sam = sam
        self.decoder_prompts = None if decoder_prompts is None else nn.Parameter(decoder_prompts)
        self.encoder_prompts = None if encoder_prompts is None else nn.Parameter(encoder_prompts)
        self.mask_token = mask_token
        self.tiling = tiling
        self.background_token = background_token
        self.activation_checkpointing = False

    @property
    def classes(self) -> int:
        """Return C, the number of classes; each has its own decoder prompts."""
        several = self.decoder_prompts is not None and self.decoder_prompts.dim() == 3
        return len(cast(Tensor, self.decoder_prompts)) if several else 1

    @property
    def image_size(self) -> int:
        """Return S, the side of the square input in px."""
        return self.sam.image_encoder.img_size

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        return self.sam.pixel_mean.device

    @property
    def encoder_is_frozen(self) -> bool:
        """Return whether features depend on SAM alone, so that they can be cached."""
        learned_inside = any(parameter.requires_grad for parameter in self.sam.image_encoder.parameters())
        return self.encoder_prompts is None and not learned_inside

    def encode(self, images_B3SS: Tensor) -> Tensor:
        """Return features, B 256 G G, of images that `sam.preprocess` has normalised and padded."""
        if self.encoder_is_frozen:
            return encode_frozen(self.sam.image_encoder, images_B3SS)
        checkpointing = self.activation_checkpointing and torch.is_grad_enabled()
        return encode_tuned(self.sam.image_encoder, images_B3SS, self.encoder_prompts, checkpointing)

    def decode(self, features_B256GG: Tensor) -> Tensor:
        """Return mask logits, B 4G 4G, above 0 is foreground; or B C 4G 4G, see `class_probabilities`."""
        if self.classes == 1:
            return decode(self.sam, features_B256GG, self.decoder_prompts, self.mask_token, self.background_token)
        images = features_B256GG.shape[0]
        prompts = cast(Tensor, self.decoder_prompts).repeat(images, 1, 1)
        repeated = features_B256GG.repeat_interleave(self.classes, dim=0)
        masks = decode(self.sam, repeated, prompts, self.mask_token, self.background_token)
        return masks.unflatten(0, (images, self.classes))

    def shares_decoder_with(self, other: "PromptFreeSam") -> bool:
        """Return whether the two models differ at most in prompts, so that `decode_together` can join them.

        Numbers of decoder prompts must be equal, because SAM's decoder has no mask for its attention. A model of
        several classes has a pass of its own.
        """
        return (
            self.sam is other.sam
            and self.classes == 1
            and self.decoder_prompts is not None
            and other.decoder_prompts is not None
            and self.decoder_prompts.shape == other.decoder_prompts.shape
            and (self.mask_token, self.background_token) == (other.mask_token, other.background_token)
        )

    @torch.no_grad()
    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W or C H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""
        return blend([self], self.tile_features(image), *image.shape[:2])[0]

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool or class numbers) of an image (H W 3, uint8, RGB)."""
        return decided(self.probability(image))

    @torch.no_grad()
    def tile_features(self, image: Pixels, start: int = 0) -> Iterator[Tensor]:
        """Encode the tiles of an image, row by row; yields a feature map, 256 G G, for each turn of each tile.

        Args:
            image: Image, H W 3, uint8, RGB, as an array or read by regions.
            start: Row of pixels; tiles that end above it are left out.
        """
        height, width = image.shape[:2]
        rows = self.tiling.rows_of_boxes(height, width, self.image_size, start)
        views = [(box, turn) for row in rows for box in row for turn in self.tiling.turns]
        at_once = TILES_AT_ONCE if self.device.type == "cuda" else 1
        for first in range(0, len(views), at_once):
            tiles = [self._input(turn.of(image[box])) for box, turn in views[first : first + at_once]]
            yield from self.encode(torch.stack(tiles))

    def _input(self, tile: np.ndarray) -> Tensor:
        """Return the network's input for a tile, 3 S S."""
        height, width = tile.shape[:2]
        inside = self.tiling.frame(height, width, self.image_size)
        return to_input(self.sam, resize_image(tile, *inside), self.image_size)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the learned parameters by name; these are saved with a specialist."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def decode_together(models: Sequence[PromptFreeSam], features: Sequence[Tensor]) -> list[Tensor]:
    """Return the mask logits of each model for its own features; see `PromptFreeSam.decode`.

    Models that share the decoder take one pass through it, in which each item has the prompts of its own model.

    Args:
        models: M models.
        features: Features for each model, each B 256 G G with its own B.
    """
    logits: dict[int, Tensor] = {}
    waiting = list(range(len(models)))
    while waiting:
        first = models[waiting[0]]
        joined = waiting[:1] + [index for index in waiting[1:] if first.shares_decoder_with(models[index])]
        waiting = [index for index in waiting if index not in joined]
        if len(joined) == 1:
            logits[joined[0]] = first.decode(features[joined[0]])
            continue
        sizes = [len(features[index]) for index in joined]
        prompts_MP256 = torch.stack([cast(Tensor, models[index].decoder_prompts) for index in joined])
        prompts_BP256 = prompts_MP256.repeat_interleave(torch.tensor(sizes, device=first.device), dim=0)
        stacked = torch.cat([features[index] for index in joined])
        masks = decode(first.sam, stacked, prompts_BP256, first.mask_token, first.background_token)
        logits.update(zip(joined, masks.split(sizes), strict=True))
    return [logits[index] for index in range(len(models))]


def blend(
    models: Sequence[PromptFreeSam],
    tile_features: Iterable[Tensor],
    height: int,
    width: int,
    mixing_RM: np.ndarray | None = None,
) -> np.ndarray:
    """Decode the tiles and blend them to one foreground probability map per row of `mixing_RM`, R H W, float32, 0 to 1.

    For the arguments see `blended_rows`. With several classes these are R C H W. Only the maps are kept in memory.
    """
    maps: np.ndarray | None = None
    done = 0
    for rows in blended_rows(models, tile_features, height, width, mixing_RM):
        if maps is None:
            maps = np.empty((*rows.shape[:-2], height, width), np.float32)
        maps[..., done : done + rows.shape[-2], :] = rows
        done += rows.shape[-2]
    assert maps is not None  # There is at least one row.
    return maps


@torch.no_grad()
def blended_rows(
    models: Sequence[PromptFreeSam],
    tile_features: Iterable[Tensor],
    height: int,
    width: int,
    mixing_RM: np.ndarray | None = None,
    start: int = 0,
) -> Iterator[np.ndarray]:
    """Decode and blend the tiles from top to bottom; yield rows of the maps as soon as no other tile covers them.

    Each part is R h W, or R C h W with several classes, float32, 0 to 1; the parts follow each other without gaps from
    row `start` to row H. The memory is that of one row of tiles. The numbers do not depend on `start`.

    Args:
        models: M models with the same features: on one frozen SAM and with one tiling, or a single model. They have the
            same classes.
        tile_features: Features of each turn of each tile, 256 G G, in the order of `PromptFreeSam.tile_features`, with
            the same `start`.
        height: H, height of the image, px.
        width: W, width of the image, px.
        mixing_RM: Weight of each model in each map. By default there is one map per model.
        start: Row of pixels at which the maps begin.
    """
    mixing = np.eye(len(models), dtype=np.float32) if mixing_RM is None else mixing_RM.astype(np.float32)
    tiling, image_size, features = models[0].tiling, models[0].image_size, iter(tile_features)
    classes = models[0].classes
    rows_of_boxes = tiling.rows_of_boxes(height, width, image_size, start)
    top = rows_of_boxes[0][0][0].start
    total, weight = np.zeros((len(mixing), classes, 0, width), np.float32), np.zeros((0, width), np.float32)
    for number, boxes in enumerate(rows_of_boxes):
        more = boxes[0][0].stop - top - len(weight)
        total = np.concatenate([total, np.zeros((len(mixing), classes, more, width), np.float32)], axis=2)
        weight = np.concatenate([weight, np.zeros((more, width), np.float32)])
        for rows, columns in boxes:
            seen = list(islice(features, len(tiling.turns)))
            box = (slice(rows.start - top, rows.stop - top), columns)
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            tile_weight = ramp(*shape)
            weight[box] += tile_weight
            for index, model in enumerate(models):
                probability = _tile_probability(model, seen, shape)
                for row in np.flatnonzero(mixing[:, index]):
                    total[row][:, *box] += mixing[row, index] * (tile_weight * probability)
        following = rows_of_boxes[number + 1][0][0].start if number + 1 < len(rows_of_boxes) else height
        above, finished = max(0, start - top), following - top
        if finished > above:
            part = total[:, :, above:finished] / weight[above:finished]
            yield part if classes > 1 else part[:, 0]
        total, weight, top = total[:, :, finished:], weight[finished:], following


def _tile_probability(model: PromptFreeSam, features: Sequence[Tensor], shape: tuple[int, int]) -> np.ndarray:
    """Return the probability of each class in a tile, C h w: the mean over the turns in which the network sees it."""
    maps = []
    for turn, of_turn in zip(model.tiling.turns, features, strict=True):
        turned = turn.shape(*shape)
        inside = model.tiling.frame(*turned, model.image_size)
        decoded = model.decode(of_turn[None])[0]
        logits_C = decoded if model.classes > 1 else decoded[None]
        scaled = torch.stack([to_original(logits, inside, turned, model.image_size) for logits in logits_C])
        maps.append(turn.back(class_probabilities(scaled[None])[0].cpu().numpy()))
    return maps[0] if len(maps) == 1 else np.mean(maps, axis=0)


def class_probabilities(logits_BChw: Tensor) -> Tensor:
    """Return the probability of each class, B C h w, 0 to 1.

    Classes exclude each other, and the background is one more class, whose logit is 0. So a pixel has the class with
    the largest logit, if that is above 0; and the probability of a single class is its sigmoid.
    """
    if logits_BChw.shape[1] == 1:
        return logits_BChw.sigmoid()
    return F.pad(logits_BChw, (0, 0, 0, 0, 1, 0)).softmax(dim=1)[:, 1:]


def check_output(mask_token: int, tiles: int, scale: str) -> None:
    """Check the settings that the configurations of all SAM-based methods share.

    Raises:
        ConfigError: SAM has no such mask, there is less than one tile, or scale is not "absolute" or "relative".
    """
    if mask_token not in range(4):
        raise ConfigError(f"method.mask_token is {mask_token}; SAM has four masks, 0 to 3.")
    if tiles < 1:
        raise ConfigError(f"method.tiles is {tiles}; expected at least 1.")
    if scale not in ("absolute", "relative"):
        raise ConfigError(f'method.scale is "{scale}"; expected "absolute" or "relative".')
