"""A control: a plain U-Net that knows nothing but the training images, given the time that a specialist is given."""

# B images  S input side, px  h w an image's frame inside that square, px  H W an image's own size, px  C channels

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.data.dataset import Pair
from ptsam_auto.sam.preprocess import frame, resize, to_original
from ptsam_auto.training.loss import segmentation_loss
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.views import Supply, targets

CHANNELS = (12, 24, 48, 96, 192)  # a forward at 512 px takes about as long as nano's encoder
# AdamW's, decayed along a cosine. Of 1e-3, 3e-3 and 1e-2 the best after 40 steps at 256 px, on 4 validation images of
# nuclei_dsb2018 (Dice 0.66, 0.51, 0.48) and of membranes_isbi2012 (0.71, 0.70, 0.68).
LEARNING_RATE = 1e-3
MIDDLE, SPREAD = 127.5, 64.0  # of 8-bit pixels, roughly


class UNet(nn.Module):
    """Ronneberger et al. 2015 with padding, group normalisation and bilinear upsampling: B 3 S S -> B S S logits.

    Args:
        channels: C of each level, from full resolution down; each a multiple of 4. S is a multiple of 2 to the power of
            the levels but one.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_level(before, after) for before, after in pairwise([3, *channels]))
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(channels))
        self.up = nn.ModuleList(_level(2 * fine, fine) for fine in channels[:-1])
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Return mask logits; above 0 is foreground."""
        x = images_B3SS
        passed: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if passed else x)
            passed.append(x)
        for narrow, level, fine in zip(self.narrow[::-1], self.up[::-1], passed[-2::-1], strict=True):
            # Narrowed before it is enlarged: the same numbers as the other way round, for a quarter of the work.
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = level(torch.cat([fine, x], dim=1))
        return self.head(x)[:, 0]


def _level(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class TrainedUNet:
    """A U-Net with what it takes to use it.

    Args:
        net: in eval mode.
        image_size: S.
        steps: that it was trained for.
    """

    net: UNet
    image_size: int
    steps: int

    @torch.no_grad()
    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask of an H W 3 uint8 RGB image, seen in the frame that a SAM sees it in: H W, bool."""
        height, width = image.shape[:2]
        inside = frame(height, width, self.image_size)
        logits = self.net(_channels_last(_to_input(resize(image, *inside), self.image_size)[None]))[0]
        return (to_original(logits, inside, (height, width), self.image_size) > 0).numpy()


def train_unet(
    pairs: Sequence[Pair],
    settings: Settings,
    image_size: int,
    seed: int,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> TrainedUNet:
    """Train from scratch on fresh augmented views until the time is up; the learning rate follows the clock.

    Time is what is held equal, so how many steps are made depends on the machine; the result says how many.

    Args:
        pairs: the training images.
        settings: a specialist's; augmentation, batch size and the loss's weights are shared with it.
        image_size: S.
        seed: of the first weights, of order and views.
        seconds: for all steps together; one step is always made.
        clock: CPU seconds since any moment, so that a busy machine does not shorten the training.
    """
    recipe, supply = settings.recipe, Supply.of(pairs, settings, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet().to(memory_format=torch.channels_last)  # halves a step's time on a CPU
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=recipe.weight_decay)
    began, step, progress = clock(), 0, 0.0
    while progress < 1:
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * progress))
        views = supply.views(step, image_size, tiles=1)
        images_B3SS = torch.stack([_to_input(one.image, image_size) for one in views])
        target, inside = targets([one.mask for one in views], image_size)
        loss = segmentation_loss(net(_channels_last(images_B3SS)), target, inside, recipe.cross_entropy_weight).total
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        progress = (clock() - began) / seconds
    return TrainedUNet(net.eval(), image_size, step)


def _channels_last(images_B3SS: Tensor) -> Tensor:
    return images_B3SS.contiguous(memory_format=torch.channels_last)


def _to_input(image_hw3: np.ndarray, image_size: int) -> Tensor:
    """An image already in its frame (uint8, RGB), 3 S S float32, padded with zeros at the bottom and right."""
    pixels = (torch.tensor(image_hw3).permute(2, 0, 1).float() - MIDDLE) / SPREAD
    return F.pad(pixels, (0, image_size - pixels.shape[2], 0, image_size - pixels.shape[1]))
