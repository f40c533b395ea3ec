"""What every SAM method becomes: a network from images to masks that needs no user prompt."""

# B images  S input side, px  G patches a side

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from ptsam_auto.errors import ConfigError
from ptsam_auto.sam.decode import decode
from ptsam_auto.sam.encode import encode


class PromptFreeSam(nn.Module):
    """A SAM with learned parts. What requires a gradient is learned and shipped; everything else stays as it was.

    Two halves, so that a frozen encoder stays outside the gradient and its features can be kept.

    Args:
        sam: frozen but for what a method made trainable.
        decoder_prompts: where they start, P 256, or None.
        encoder_prompts: where they start, L P D, or None.
        mask_token: which of SAM's four masks is the output, see `sam.decode`.
        tiles: along an image's longer side, see `sam.tiles`; 1 shows the network whole images, as SAM does.
        background_token: the mask that speaks for the background, where a method has one.
    """

    def __init__(
        self,
        sam: Sam,
        decoder_prompts: Tensor | None = None,
        encoder_prompts: Tensor | None = None,
        mask_token: int = 1,
        tiles: int = 1,
        background_token: int | None = None,
    ) -> None:
        super().__init__()
        self.sam = sam
        self.decoder_prompts = None if decoder_prompts is None else nn.Parameter(decoder_prompts)
        self.encoder_prompts = None if encoder_prompts is None else nn.Parameter(encoder_prompts)
        self.mask_token = mask_token
        self.tiles = tiles
        self.background_token = background_token

    @property
    def image_size(self) -> int:
        """S, side of the square input in px."""
        return self.sam.image_encoder.img_size

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.sam.pixel_mean.device

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether features depend on SAM alone, so that they can be kept."""
        learned_inside = any(parameter.requires_grad for parameter in self.sam.image_encoder.parameters())
        return self.encoder_prompts is None and not learned_inside

    def encode(self, images_B3SS: Tensor) -> Tensor:
        """Features, B 256 G G, of images normalised and padded as `sam.preprocess` does."""
        return encode(self.sam.image_encoder, images_B3SS, self.encoder_prompts)

    def decode(self, features_B256GG: Tensor) -> Tensor:
        """Mask logits, B 4G 4G; above 0 is foreground."""
        return decode(self.sam, features_B256GG, self.decoder_prompts, self.mask_token, self.background_token)

    def trainable(self) -> dict[str, nn.Parameter]:
        """What training changes, by name: all that a specialist has to ship."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def check_output(mask_token: int, tiles: int) -> None:
    """Refuse what no method can do, in the words that all their configs share.

    Raises:
        ConfigError: SAM has no such mask, or there is no tile.
    """
    if mask_token not in range(4):
        raise ConfigError(f"method.mask_token is {mask_token}; SAM has four, 0 to 3.")
    if tiles < 1:
        raise ConfigError(f"method.tiles is {tiles}; expected at least 1.")
