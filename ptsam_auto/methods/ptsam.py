"""PTSAM: prompts in the mask decoder, and in every layer of the image encoder (Sec. 3.2)."""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam

from ptsam_auto.adapt.prompts import new_decoder_prompts, new_encoder_prompts
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output


@dataclass(frozen=True)
class PTSAMConfig:
    """The paper's method; defaults are the paper's where it speaks.

    Args:
        name: the method's, in `registry`.
        decoder_prompts: n_md, at least 1 (8 in Sec. 4.1.3; 2,048 numbers).
        encoder_prompts: n_ie in each layer, 0 leaves the encoder frozen (8 in Sec. 4.1.3; 73,728 numbers on ViT-B).
        mask_token: which of SAM's four masks is the output. The paper uses "the first of the three" (Sec. 3.2); our
            reading is 1, the first of the trio for ambiguous prompts. 0 is SAM's single mask.
        tiles: along an image's longer side, each shown to the network at its full input size; 1 is the paper's whole
            image. Two of nano's 512 px show about what SAM sees at 1,024 px.
        prompt_std: standard deviation of the decoder prompts' start; the paper is silent.

    Raises:
        ConfigError: a value outside its range.
    """

    name: str = "ptsam"
    decoder_prompts: int = 8
    encoder_prompts: int = 0
    mask_token: int = 1
    prompt_std: float = 0.1
    tiles: int = 1

    def __post_init__(self) -> None:
        if self.decoder_prompts < 1:
            raise ConfigError(f"method.decoder_prompts is {self.decoder_prompts}; expected at least 1.")
        if self.encoder_prompts < 0:
            raise ConfigError(f"method.encoder_prompts is {self.encoder_prompts}; expected 0 (frozen) or more.")
        if not self.prompt_std > 0:
            raise ConfigError(f"method.prompt_std is {self.prompt_std}; expected a number above 0.")
        check_output(self.mask_token, self.tiles)

    @property
    def tunes_encoder(self) -> bool:
        """Whether features change as training goes on."""
        return self.encoder_prompts > 0


def build(sam: Sam, config: PTSAMConfig, seed: int) -> PromptFreeSam:
    """A frozen SAM with fresh prompts.

    Args:
        sam: frozen here, not copied.
        config: how many prompts, and where.
        seed: of the prompts' first values.
    """
    sam.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    device = sam.mask_decoder.iou_token.weight.device
    decoder_prompts = new_decoder_prompts(config.decoder_prompts, config.prompt_std, generator).to(device)
    encoder_prompts = None
    if config.encoder_prompts:
        encoder_prompts = new_encoder_prompts(sam.image_encoder, config.encoder_prompts, generator).to(device)
    return PromptFreeSam(sam, decoder_prompts, encoder_prompts, config.mask_token, config.tiles)
