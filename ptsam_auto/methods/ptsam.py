"""PTSAM: prompts in the mask decoder, and in every layer of the image encoder (Sec. 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ptsam_auto.adapt.prompts import new_decoder_prompts, new_encoder_prompts
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output
from ptsam_auto.sam.published import Sam

MOST_PROMPTS = 1_000  # More is no prompt tuning any more, or a damaged file.


@dataclass(frozen=True)
class PTSAMConfig:
    """Configuration of the paper's method. The defaults follow the paper where it gives a value.

    Args:
        name: Name of the method in `sam_methods`.
        decoder_prompts: n_md, number of prompts in the mask decoder, at least 1 (8 in Sec. 4.1.3; 2,048 numbers).
        encoder_prompts: n_ie, number of prompts in each layer of the image encoder; 0 leaves the encoder frozen (8 in
            Sec. 4.1.3; 73,728 numbers on ViT-B).
        mask_token: Index of the one of SAM's four masks that is the output. The paper uses "the first of the three"
            (Sec. 3.2); our reading is 1, the first of the three masks for ambiguous prompts. 0 is SAM's single mask.
        tiles: Number of tiles along an image's longer side. Each tile is scaled to the input size of the network; 1 is
            the whole image, as in the paper. Two tiles of nano's 512 px show about what SAM sees at 1,024 px.
        scale: "absolute": a tile of any image covers as many px as a tile of a typical training image, so all images
            are shown at the same magnification. "relative": every image is cut into the same number of tiles, whatever
            its size, which suits photographs of any resolution.
        prompt_std: Standard deviation of the initial decoder prompts. The paper gives no value.
        initial_prompts: "random": the prompts begin at random values, as in VPT and the paper. "scenes": they begin at
            prompts that were learned on rendered scenes for this backbone, see `adapt.learned`; what these do not have
            (they are 8 and 8) begins at random values. Only if the encoder is tuned.

    Raises:
        ConfigError: A value is outside its range.
    """

    name: str = "ptsam"
    decoder_prompts: int = 8
    encoder_prompts: int = 0
    mask_token: int = 1
    prompt_std: float = 0.1
    initial_prompts: str = "random"
    tiles: int = 1
    scale: str = "absolute"

    def __post_init__(self) -> None:
        if not 1 <= self.decoder_prompts <= MOST_PROMPTS:
            raise ConfigError(f"method.decoder_prompts is {self.decoder_prompts}; expected 1 to {MOST_PROMPTS}.")
        if not 0 <= self.encoder_prompts <= MOST_PROMPTS:
            raise ConfigError(
                f"method.encoder_prompts is {self.encoder_prompts}; expected 0 (frozen) to {MOST_PROMPTS}."
            )
        if not self.prompt_std > 0:
            raise ConfigError(f"method.prompt_std is {self.prompt_std}; expected a number above 0.")
        if self.initial_prompts not in ("random", "scenes"):
            raise ConfigError(f'method.initial_prompts is "{self.initial_prompts}"; expected "random" or "scenes".')
        if self.initial_prompts == "scenes" and not self.encoder_prompts:
            raise ConfigError(
                'method.initial_prompts is "scenes", but method.encoder_prompts is 0; the prompts of the decoder were '
                "learned with those of the encoder. Expected at least 1 encoder prompt."
            )
        check_output(self.mask_token, self.tiles, self.scale)

    @property
    def tunes_encoder(self) -> bool:
        """Return whether the image encoder is trained, so that its features cannot be cached."""
        return self.encoder_prompts > 0


def build(sam: Sam, config: PTSAMConfig, seed: int, classes: int = 1) -> PromptFreeSam:
    """Return a frozen SAM with newly initialised prompts.

    Each of several classes has its own decoder prompts; encoder prompts are common to all, so an image is encoded once.

    Args:
        sam: SAM; its weights are set to frozen, not copied.
        config: Number of prompts in decoder and encoder.
        seed: Random seed for the initial prompts.
        classes: Number of classes.
    """
    sam.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    device = sam.mask_decoder.iou_token.weight.device
    of_classes = [new_decoder_prompts(config.decoder_prompts, config.prompt_std, generator) for _ in range(classes)]
    decoder_prompts = (torch.stack(of_classes) if classes > 1 else of_classes[0]).to(device)
    encoder_prompts = None
    if config.encoder_prompts:
        encoder_prompts = new_encoder_prompts(sam.image_encoder, config.encoder_prompts, generator).to(device)
    return PromptFreeSam(sam, decoder_prompts, encoder_prompts, config.mask_token)


@torch.no_grad()
def begin_at(model: PromptFreeSam, learned: Mapping[str, Tensor]) -> None:
    """Set the first prompts of a new model, those of every class alike, to learned ones; see `adapt.learned`."""
    for name, values in learned.items():
        parameter = model.trainable()[name]
        common = min(parameter.shape[-2], values.shape[-2])
        parameter[..., :common, :] = values[..., :common, :].to(parameter.device)
