"""A baseline: a plain U-Net that is trained from scratch on the training images alone."""

# B images  S input side, px  h w size of the scaled image inside that square, px  H W size of an image, px  C channels

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods.prompt_free import WHOLE
from ptsam_auto.resampling import resize_image
from ptsam_auto.sam.preprocess import to_original
from ptsam_auto.sam.tiles import frame
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.loss import segmentation_loss
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import Trained
from ptsam_auto.training.views import ViewSampler, targets

CHANNELS = (12, 24, 48, 96, 192)  # a forward pass at 512 px takes about as long as nano's encoder
# Initial learning rate of AdamW, with cosine annealing. It was the best of 1e-3, 3e-3 and 1e-2 after 40 steps at 256
# px, on 4 validation images of nuclei_dsb2018 (Dice 0.66, 0.51, 0.48) and of membranes_isbi2012 (0.71, 0.70, 0.68).
LEARNING_RATE = 1e-3
PIXEL_MEAN, PIXEL_STD = 127.5, 64.0  # approximate mean and standard deviation of 8-bit pixels


class UNet(nn.Module):
    """The U-Net of Ronneberger et al. (2015) with padding, group normalisation and bilinear upsampling.

    Args:
        image_size: S, the input side, px, a multiple of 2 to the power of the number of levels minus one.
        channels: C of each level, from full resolution down; each is a multiple of 4.
    """

    def __init__(self, image_size: int, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.image_size = image_size
        self.down = nn.ModuleList(_level(before, after) for before, after in pairwise([3, *channels]))
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(channels))
        self.up = nn.ModuleList(_level(2 * fine, fine) for fine in channels[:-1])
        self.head = nn.Conv2d(channels[0], 1, 1)
        self.to(memory_format=torch.channels_last)  # halves the time of a step on a CPU

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Return mask logits, B S S; above 0 is foreground."""
        x = images_B3SS.contiguous(memory_format=torch.channels_last)
        skipped: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skipped else x)
            skipped.append(x)
        for narrow, level, fine in zip(self.narrow[::-1], self.up[::-1], skipped[-2::-1], strict=True):
            # Reducing the channels before upsampling gives the same result as after it, for a quarter of the work.
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = level(torch.cat([fine, x], dim=1))
        return self.head(x)[:, 0]

    @torch.no_grad()
    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability of each pixel, H W float32, 0 to 1.

        Args:
            image: Image, H W 3, uint8, RGB; it is scaled to S like the input of a SAM.
        """
        height, width = image.shape[:2]
        inside = frame(height, width, self.image_size)
        input_3SS = _to_input(resize_image(image, *inside), self.image_size).to(self.device)
        logits_SS = self(input_3SS[None])[0]
        return to_original(logits_SS, inside, (height, width), self.image_size).sigmoid().cpu().numpy()

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask of an H W 3 uint8 RGB image, H W bool."""
        return self.probability(image) > 0.5

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return all parameters by name."""
        return dict(self.named_parameters())

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        return self.head.weight.device


def _level(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class UNetTrainer:
    """Trains a U-Net for the steps of a recipe; see `training.trainer.Trainer`.

    There is no checkpoint: an interrupted training starts again from the beginning.

    Args:
        settings: Settings of a SAM-based method; the U-Net uses its recipe and augmentation.
        image_size: S, the input side, px.
    """

    settings: Settings
    image_size: int

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """Train from scratch."""
        began = time.perf_counter()
        steps = self.settings.recipe.steps
        net = train_unet(images, self.settings, self.image_size, seed, steps, device)
        return Trained(net, steps=steps, seconds=time.perf_counter() - began)


def train_unet(
    pairs: Sequence[Pair], settings: Settings, image_size: int, seed: int, steps: int, device: str = "cpu"
) -> UNet:
    """Train from scratch on new augmented views in every step, with cosine annealing of the learning rate.

    Args:
        pairs: Training images.
        settings: Settings of a SAM-based method; the U-Net uses its augmentation, batch size, loss weights and weight
            decay.
        image_size: S, the input side, px.
        seed: Random seed for the initial weights, and for the order and views of the images.
        steps: Number of optimiser steps, at least 1.
        device: Device, such as "cpu" or "cuda:0".

    Returns:
        The network in eval mode. The same seed gives the same network.
    """
    recipe, sampler = settings.recipe, ViewSampler.of(pairs, settings, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(image_size).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=recipe.weight_decay)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        views = sampler.views(step, image_size, WHOLE)
        images_B3SS = torch.stack([_to_input(view.image, image_size) for view in views]).to(net.device)
        ignored = [view.ignored for view in views]
        target, inside = targets([view.mask for view in views], image_size, net.device, ignored)
        loss = segmentation_loss(net(images_B3SS), target, inside, recipe.cross_entropy_weight).total
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return net.eval()


def _to_input(image_hw3: np.ndarray, image_size: int) -> Tensor:
    """Return the input for a scaled image (h w 3, uint8, RGB): padded with zeros, 3 S S float32."""
    pixels = (torch.tensor(image_hw3).permute(2, 0, 1).float() - PIXEL_MEAN) / PIXEL_STD
    return F.pad(pixels, (0, image_size - pixels.shape[2], 0, image_size - pixels.shape[1]))
