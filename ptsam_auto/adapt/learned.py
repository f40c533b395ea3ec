"""Prompts that come with this package: a training can begin at them instead of at random ones.

They were learned on rendered scenes (`python -m nano prompts`), on exactly one set of weights each. Each file is
lite_medsam_scenes.safetensors or the like beside this module, and names these weights in its header.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ptsam_auto.errors import ConfigError
from ptsam_auto.sam.checkpoint import Backbone


def learned_prompts(backbone: Backbone) -> Mapping[str, Tensor]:
    """Return the prompts that were learned on scenes with a backbone: decoder_prompts (P 256) and encoder_prompts.

    Raises:
        ConfigError: There are none for these weights.
    """
    known = []
    for path in sorted(Path(str(resources.files("ptsam_auto.adapt"))).glob("*_scenes.safetensors")):
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["learned"])
            if about["sha256"] == backbone.sha256:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        known.append(about["backbone"])
    raise ConfigError(
        f'method.initial_prompts is "scenes", but for the weights of {backbone.name} no prompts were learned on '
        f"scenes; there are some for {' and '.join(known)}.\nUse method.initial_prompts=random, as in the paper."
    )
