"""CellSeg1, made prompt-free as in the paper (Sec. 4.1.1): LoRA in the mask decoder, and in the image encoder."""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam

from ptsam_auto.adapt.freeze import frozen_twin
from ptsam_auto.adapt.lora import add_decoder_lora, add_encoder_lora
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output


@dataclass(frozen=True)
class CellSeg1Config:
    """The rival with the fewest numbers to learn; the rank is the original's.

    What differs from the original (Zhou, Du and Xu, 2024): in place of point prompts, SAM's embeddings for no prompt,
    as in the paper; masks of all objects at once rather than one by one; and no dropout, where the original drops a
    tenth of the updated projections' outputs. Optimiser, schedule and loss are those of all methods here.

    Args:
        name: the method's, in `registry`.
        decoder_rank: of the updates in the mask decoder, at least 1 (4; 23,552 numbers).
        encoder_rank: of those in the image encoder, 0 leaves it frozen (4 where tuned; 147,456 numbers on ViT-B).
        mask_token: which of SAM's four masks is the output, as in PTSAMConfig.
        tiles: along an image's longer side, as in PTSAMConfig.

    Raises:
        ConfigError: a value outside its range.
    """

    name: str = "cellseg1"
    decoder_rank: int = 4
    encoder_rank: int = 0
    mask_token: int = 1
    tiles: int = 1

    def __post_init__(self) -> None:
        if self.decoder_rank < 1:
            raise ConfigError(f"method.decoder_rank is {self.decoder_rank}; expected at least 1.")
        if self.encoder_rank < 0:
            raise ConfigError(f"method.encoder_rank is {self.encoder_rank}; expected 0 (frozen) or more.")
        check_output(self.mask_token, self.tiles)

    @property
    def tunes_encoder(self) -> bool:
        """Whether features change as training goes on."""
        return self.encoder_rank > 0


def build(sam: Sam, config: CellSeg1Config, seed: int) -> PromptFreeSam:
    """A frozen SAM with fresh updates, which change nothing before they are trained.

    Args:
        sam: frozen here, shared rather than copied, and left as it was.
        config: of which rank, and where.
        seed: of the updates' first values.
    """
    generator = torch.Generator().manual_seed(seed)
    tuned = frozen_twin(sam)
    add_decoder_lora(tuned.mask_decoder, config.decoder_rank, generator)
    if config.encoder_rank:
        add_encoder_lora(tuned.image_encoder, config.encoder_rank, generator)
    return PromptFreeSam(tuned, mask_token=config.mask_token, tiles=config.tiles)
