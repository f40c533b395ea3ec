"""AutoSAM: trains the complete mask decoder, with one mask per class, on a frozen image encoder (Sec. 4.1.1)."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ptsam_auto.adapt.shared_weights import copy_sharing_weights
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output
from ptsam_auto.sam.network import DECODER_WIDTH
from ptsam_auto.sam.published import MaskDecoder, Sam

BACKGROUND, FOREGROUND = 0, 1  # the two mask tokens


@dataclass(frozen=True)
class AutoSAMConfig:
    """Configuration of AutoSAM, which trains the most parameters of the methods with a frozen encoder: 3,645,344.

    The parameter count in Table 1 matches a decoder with two mask tokens, one per class, and without the IoU head. The
    foreground probability of a pixel is the softmax over both masks, so its logit is their difference.

    There are two differences from the original (Hu, Xu and Shi, 2023): we keep SAM's position encoding and its IoU
    token, while the original initialises both at random. Optimiser, schedule and loss are the same for all methods
    here.

    Args:
        name: Name of the method in `sam_methods`.
        reading: "original" follows the authors' code: the mask tokens start at random (normal), and the no-prompt
            embedding is left out. "sam" starts like the other methods: SAM's mask tokens, and the no-prompt embedding
            is kept. The paper does not say which.
        mask_token: Index of the one of SAM's four masks whose hypernetwork (and with reading "sam" also its token) is
            the initial value for the foreground; the background starts from the first of the others. As in
            PTSAMConfig, this mask is the output of the untuned SAM.
        tiles: Number of tiles along an image's longer side, as in PTSAMConfig.
        scale: "absolute" or "relative", as in PTSAMConfig.

    Raises:
        ConfigError: A value is outside its range.
    """

    name: str = "autosam"
    reading: str = "original"
    mask_token: int = 1
    tiles: int = 1
    scale: str = "absolute"

    def __post_init__(self) -> None:
        if self.reading not in ("original", "sam"):
            raise ConfigError(f'method.reading is "{self.reading}"; expected "original" or "sam".')
        check_output(self.mask_token, self.tiles, self.scale)

    @property
    def tunes_encoder(self) -> bool:
        """Return False: the image encoder is frozen, so its features can be cached."""
        return False


def build(sam: Sam, config: AutoSAMConfig, seed: int) -> PromptFreeSam:
    """Return a SAM with a trainable copy of its decoder.

    Args:
        sam: SAM; its weights are set to frozen and are otherwise unchanged.
        config: Configuration of the method.
        seed: Random seed for the initial mask tokens.
    """
    tuned = copy_sharing_weights(sam)
    background = 1 if config.mask_token == 0 else 0
    tuned.mask_decoder = _with_masks(sam.mask_decoder, [background, config.mask_token])
    if config.reading == "original":
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(2, DECODER_WIDTH, generator=generator)
        device = sam.mask_decoder.mask_tokens.weight.device
        tuned.mask_decoder.mask_tokens.weight = nn.Parameter(tokens.to(device))
        nothing = torch.zeros_like(sam.prompt_encoder.no_mask_embed.weight)
        tuned.prompt_encoder.no_mask_embed.weight = nn.Parameter(nothing, requires_grad=False)
    return PromptFreeSam(tuned, mask_token=FOREGROUND, background_token=BACKGROUND)


def _with_masks(decoder: MaskDecoder, masks: list[int]) -> MaskDecoder:
    """Return a trainable copy of the decoder with only the given masks; the IoU token and head stay frozen."""
    chosen = copy.deepcopy(decoder).requires_grad_(True)
    chosen.iou_token.requires_grad_(False)
    chosen.iou_prediction_head.requires_grad_(False)
    chosen.num_mask_tokens, chosen.num_multimask_outputs = len(masks), len(masks) - 1
    chosen.mask_tokens = nn.Embedding.from_pretrained(decoder.mask_tokens.weight[masks].clone(), freeze=False)
    chosen.output_hypernetworks_mlps = nn.ModuleList(chosen.output_hypernetworks_mlps[mask] for mask in masks)
    return chosen
