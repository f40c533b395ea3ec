"""AutoSAM: the mask decoder trained whole, with a mask for each class, on a frozen image encoder (Sec. 4.1.1)."""

import copy
from dataclasses import dataclass

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import nn

from ptsam_auto.adapt.freeze import frozen_twin
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods.prompt_free import PromptFreeSam, check_output
from ptsam_auto.sam.generalist import DECODER_WIDTH

BACKGROUND, FOREGROUND = 0, 1  # the two mask tokens


@dataclass(frozen=True)
class AutoSAMConfig:
    """The rival that trains most on a frozen encoder: 3,645,344 numbers.

    Table 1's count is that of a decoder with two mask tokens, one for each class, and without the IoU head. A pixel's
    chance of foreground is the softmax over both masks, so its logit is their difference.

    What differs from the original (Hu, Xu and Shi, 2023): SAM's own encoding of positions and its IoU token stay, where
    the original draws both at random. Optimiser, schedule and loss are those of all methods here.

    Args:
        name: the method's, in `registry`.
        reading: "original", its code: the mask tokens start at random (normal), and the embedding for no prompt is left
            out; or "sam", the same start as the other methods: SAM's tokens, and that embedding kept. The paper says
            neither.
        mask_token: the mask of SAM's four whose hypernetwork, and in the reading "sam" whose token, the foreground
            starts with; the background has the first of the others. As in PTSAMConfig, it is the untuned SAM's output.
        tiles: along an image's longer side, as in PTSAMConfig.

    Raises:
        ConfigError: a value outside its range.
    """

    name: str = "autosam"
    reading: str = "original"
    mask_token: int = 1
    tiles: int = 1

    def __post_init__(self) -> None:
        if self.reading not in ("original", "sam"):
            raise ConfigError(f'method.reading is "{self.reading}"; expected "original" or "sam".')
        check_output(self.mask_token, self.tiles)

    @property
    def tunes_encoder(self) -> bool:
        """Whether features change as training goes on."""
        return False


def build(sam: Sam, config: AutoSAMConfig, seed: int) -> PromptFreeSam:
    """A SAM with a copy of its decoder to train.

    Args:
        sam: frozen here and left as it was.
        config: see there.
        seed: of the mask tokens' first values.
    """
    tuned = frozen_twin(sam)
    background = 1 if config.mask_token == 0 else 0
    tuned.mask_decoder = _with_masks(sam.mask_decoder, [background, config.mask_token])
    if config.reading == "original":
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(2, DECODER_WIDTH, generator=generator)
        device = sam.mask_decoder.mask_tokens.weight.device
        tuned.mask_decoder.mask_tokens.weight = nn.Parameter(tokens.to(device))
        nothing = torch.zeros_like(sam.prompt_encoder.no_mask_embed.weight)
        tuned.prompt_encoder.no_mask_embed.weight = nn.Parameter(nothing, requires_grad=False)
    return PromptFreeSam(tuned, mask_token=FOREGROUND, background_token=BACKGROUND, tiles=config.tiles)


def _with_masks(decoder: MaskDecoder, masks: list[int]) -> MaskDecoder:
    """A trainable copy of the decoder that knows some of its masks only; the IoU token and head stay frozen."""
    chosen = copy.deepcopy(decoder).requires_grad_(True)
    chosen.iou_token.requires_grad_(False)
    chosen.iou_prediction_head.requires_grad_(False)
    chosen.num_mask_tokens, chosen.num_multimask_outputs = len(masks), len(masks) - 1
    chosen.mask_tokens = nn.Embedding.from_pretrained(decoder.mask_tokens.weight[masks].clone(), freeze=False)
    chosen.output_hypernetworks_mlps = nn.ModuleList(chosen.output_hypernetworks_mlps[mask] for mask in masks)
    return chosen
