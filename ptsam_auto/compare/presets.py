"""The presets of a comparison: named groups of settings. This module does not import torch."""

from typing import Any

# The values of Sec. 4.1.3, with fresh views instead of a feature bank, and whole images instead of tiles. The learning
# rates and the numbers of prompts are the defaults of ViT-B.
PAPER: dict[str, Any] = {
    "recipe.epochs": 1000,
    "recipe.steps_per_epoch": 20,
    "recipe.batch_size": 2,
    "recipe.warmup_steps": 0,
    "recipe.cross_entropy_weight": 0.2,
    "recipe.views": 0,
    "method.tiles": 1,
    "method.scale": "relative",
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {"paper": ("vit_b", PAPER)}  # name to backbone and settings
