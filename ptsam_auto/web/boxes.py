"""Finds the object in a box that somebody has drawn, with a frozen SAM."""

import numpy as np

from ptsam_auto.device import choose_device
from ptsam_auto.errors import BackboneError
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.sam.box_prompt import Box, mask_in_box
from ptsam_auto.sam.network import SamNetwork
from ptsam_auto.terminal import Terminal

# Backbones that were pretrained with boxes, the better one first, and how much of the image around a box each sees: the
# best of 1.2, 1.6, 2.5 and 4 on objects of train lists. nano comes with the package.
CONTEXTS = {"lite_medsam": 1.6, "nano": 2.5}


class Boxes:
    """The tool behind the boxes; its network is loaded when it is used for the first time.

    Args:
        device: Device, such as "cpu" or "cuda:0", or None for the best one.
        backbones: Backbones of `CONTEXTS`; the first that is installed is used.
    """

    def __init__(self, device: str | None = None, backbones: tuple[str, ...] = tuple(CONTEXTS)) -> None:
        self._device, self._backbones = device, backbones
        self._loaded: tuple[SamNetwork, float] | None = None

    def mask(self, image: np.ndarray, box: Box) -> np.ndarray:
        """Return the mask of the object in a box; see `mask_in_box`.

        Raises:
            BackboneError: None of the backbones is installed.
        """
        self._loaded = self._loaded or self._load()
        sam, context = self._loaded
        return mask_in_box(sam, image, box, context)

    def _load(self) -> tuple[SamNetwork, float]:
        for name in self._backbones:
            try:
                backbone = choose_backbone(name, Terminal.silent())
            except BackboneError:
                if name == self._backbones[-1]:
                    raise
                continue
            return backbone.sam.to(choose_device(self._device)), CONTEXTS[name]
        raise ValueError("no backbones")
