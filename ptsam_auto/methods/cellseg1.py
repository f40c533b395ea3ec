"""CellSeg1, made prompt-free as in the paper (Sec. 4.1.1): LoRA in the mask decoder, and in the image encoder."""

from dataclasses import dataclass

import torch

from ptsam_auto.adapt.lora import add_decoder_lora, add_encoder_lora
from ptsam_auto.adapt.shared_weights import copy_sharing_weights
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output
from ptsam_auto.sam.published import Sam


@dataclass(frozen=True)
class CellSeg1Config:
    """Configuration of CellSeg1, the compared method with the fewest learned parameters.

    The rank is that of the original. Differences from the original (Zhou, Du and Xu, 2024): SAM's no-prompt embeddings
    instead of point prompts, as in the paper; one mask of all objects instead of one mask per object; and no dropout,
    while the original drops a tenth of the outputs of the updated projections. Optimiser, schedule and loss are the
    same for all methods here.

    Args:
        name: Name of the method in `sam_methods`.
        decoder_rank: LoRA rank in the mask decoder, at least 1 (4; 23,552 numbers).
        encoder_rank: LoRA rank in the image encoder; 0 leaves the encoder frozen (4 if it is tuned; 147,456 numbers on
            ViT-B).
        mask_token: Index of the one of SAM's four masks that is the output, as in PTSAMConfig.
        tiles: Number of tiles along an image's longer side, as in PTSAMConfig.
        scale: "absolute" or "relative", as in PTSAMConfig.

    Raises:
        ConfigError: A value is outside its range.
    """

    name: str = "cellseg1"
    decoder_rank: int = 4
    encoder_rank: int = 0
    mask_token: int = 1
    tiles: int = 1
    scale: str = "absolute"

    def __post_init__(self) -> None:
        if self.decoder_rank < 1:
            raise ConfigError(f"method.decoder_rank is {self.decoder_rank}; expected at least 1.")
        if self.encoder_rank < 0:
            raise ConfigError(f"method.encoder_rank is {self.encoder_rank}; expected 0 (frozen) or more.")
        check_output(self.mask_token, self.tiles, self.scale)

    @property
    def tunes_encoder(self) -> bool:
        """Return whether the image encoder is trained, so that its features cannot be cached."""
        return self.encoder_rank > 0


def build(sam: Sam, config: CellSeg1Config, seed: int) -> PromptFreeSam:
    """Return a frozen SAM with new LoRA updates, which are zero before training.

    Args:
        sam: SAM; its weights are set to frozen and shared, not copied. It is otherwise unchanged.
        config: LoRA ranks in decoder and encoder.
        seed: Random seed for the initial LoRA updates.
    """
    generator = torch.Generator().manual_seed(seed)
    tuned = copy_sharing_weights(sam)
    add_decoder_lora(tuned.mask_decoder, config.decoder_rank, generator)
    if config.encoder_rank:
        add_encoder_lora(tuned.image_encoder, config.encoder_rank, generator)
    return PromptFreeSam(tuned, mask_token=config.mask_token)
