"""SAMed: LoRA in the image encoder; mask decoder and prompt encoder are trained completely (Sec. 4.1.1)."""

import copy
from dataclasses import dataclass

import torch

from ptsam_auto.adapt.lora import add_encoder_lora
from ptsam_auto.adapt.shared_weights import copy_sharing_weights
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output
from ptsam_auto.sam.published import Sam


@dataclass(frozen=True)
class SAMedConfig:
    """Configuration of SAMed, which also stands for SAMCell with LoRA instead of full fine-tuning (Sec. 4.1.1).

    The rank is that of the original. The 4,212,016 numbers in Table 1 match SAM's own decoder with its four masks, the
    LoRA updates and the prompt encoder, of which only the no-prompt embedding influences the result. Parameters that
    get no gradient (the rest of the prompt encoder, the IoU head and the hypernetworks of the other three masks) count
    as trainable, as in the paper, and keep their values.

    Differences from the original (Zhang and Liu, 2023): the original has one mask per class and trains all of them;
    here there is one class, and the output is the first of SAM's three maps, as in PTSAM. The original's warm-up, its
    weight decay of 0.1 and its 512 px can be set; by default all methods here share the paper's recipe.

    Args:
        name: Name of the method in `sam_methods`.
        encoder_rank: LoRA rank in the image encoder, at least 1 (4; 147,456 numbers on ViT-B).
        mask_token: Index of the one of SAM's four masks that is the output, as in PTSAMConfig.
        tiles: Number of tiles along an image's longer side, as in PTSAMConfig.
        scale: "absolute" or "relative", as in PTSAMConfig.

    Raises:
        ConfigError: A value is outside its range.
    """

    name: str = "samed"
    encoder_rank: int = 4
    mask_token: int = 1
    tiles: int = 1
    scale: str = "absolute"

    def __post_init__(self) -> None:
        if self.encoder_rank < 1:
            raise ConfigError(f"method.encoder_rank is {self.encoder_rank}; expected at least 1.")
        check_output(self.mask_token, self.tiles, self.scale)

    @property
    def tunes_encoder(self) -> bool:
        """Return True: the image encoder is trained, so its features cannot be cached."""
        return True


def build(sam: Sam, config: SAMedConfig, seed: int) -> PromptFreeSam:
    """Return a SAM with trainable copies of its decoder and prompt encoder, and new LoRA updates in its encoder.

    Args:
        sam: SAM; its weights are set to frozen and are otherwise unchanged.
        config: Configuration of the method.
        seed: Random seed for the initial LoRA updates.
    """
    tuned = copy_sharing_weights(sam)
    add_encoder_lora(tuned.image_encoder, config.encoder_rank, torch.Generator().manual_seed(seed))
    tuned.mask_decoder = copy.deepcopy(sam.mask_decoder).requires_grad_(True)
    tuned.prompt_encoder = copy.deepcopy(sam.prompt_encoder).requires_grad_(True)
    return PromptFreeSam(tuned, mask_token=config.mask_token)
