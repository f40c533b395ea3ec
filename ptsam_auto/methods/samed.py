"""SAMed: LoRA in the image encoder, mask decoder and prompt encoder trained whole (Sec. 4.1.1)."""

import copy
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam

from ptsam_auto.adapt.freeze import frozen_twin
from ptsam_auto.adapt.lora import add_encoder_lora
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output


@dataclass(frozen=True)
class SAMedConfig:
    """The rival that is also SAMCell with LoRA in place of full fine-tuning (Sec. 4.1.1); the rank is the original's.

    Table 1's 4,212,016 numbers are those of SAM's own decoder with its four masks, and of the prompt encoder, of which
    only the embedding for no prompt has a say. What no loss reaches - the prompt encoder's rest, the IoU head and the
    other three masks' hypernetworks - counts as trainable, as in the paper, and keeps its value.

    What differs from the original (Zhang and Liu, 2023): it has a mask for every class and trains all of them; with one
    class to find, ours takes the first of SAM's three maps, as PTSAM does. Its warm-up, its weight decay of 0.1 and its
    512 px can be set; by default all methods here share the paper's recipe.

    Args:
        name: the method's, in `registry`.
        encoder_rank: of the updates in the image encoder, at least 1 (4; 147,456 numbers on ViT-B).
        mask_token: which of SAM's four masks is the output, as in PTSAMConfig.
        tiles: along an image's longer side, as in PTSAMConfig.

    Raises:
        ConfigError: a value outside its range.
    """

    name: str = "samed"
    encoder_rank: int = 4
    mask_token: int = 1
    tiles: int = 1

    def __post_init__(self) -> None:
        if self.encoder_rank < 1:
            raise ConfigError(f"method.encoder_rank is {self.encoder_rank}; expected at least 1.")
        check_output(self.mask_token, self.tiles)

    @property
    def tunes_encoder(self) -> bool:
        """Whether features change as training goes on."""
        return True


def build(sam: Sam, config: SAMedConfig, seed: int) -> PromptFreeSam:
    """A SAM whose decoder and prompt encoder are copies to train, with fresh updates in its encoder.

    Args:
        sam: frozen here and left as it was.
        config: of which rank.
        seed: of the updates' first values.
    """
    tuned = frozen_twin(sam)
    add_encoder_lora(tuned.image_encoder, config.encoder_rank, torch.Generator().manual_seed(seed))
    tuned.mask_decoder = copy.deepcopy(sam.mask_decoder).requires_grad_(True)
    tuned.prompt_encoder = copy.deepcopy(sam.prompt_encoder).requires_grad_(True)
    return PromptFreeSam(tuned, mask_token=config.mask_token, tiles=config.tiles)
