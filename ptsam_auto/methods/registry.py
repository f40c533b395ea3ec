"""Every SAM method by its name: what can be set about it, and how it is built. nnU-Net is no SAM, see `baselines`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from segment_anything.modeling import Sam

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import autosam, cellseg1, ptsam, samed
from ptsam_auto.methods.autosam import AutoSAMConfig
from ptsam_auto.methods.cellseg1 import CellSeg1Config
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig

MethodConfig = PTSAMConfig | CellSeg1Config | AutoSAMConfig | SAMedConfig


@dataclass(frozen=True)
class Method:
    """One row of the paper's Table 1, or two where the encoder may be tuned or not.

    Args:
        config: what can be set about it.
        build: makes it from a SAM, its config and a seed.
    """

    config: type[MethodConfig]
    build: Callable[[Sam, Any, int], PromptFreeSam]


METHODS = {
    "ptsam": Method(PTSAMConfig, ptsam.build),
    "cellseg1": Method(CellSeg1Config, cellseg1.build),
    "autosam": Method(AutoSAMConfig, autosam.build),
    "samed": Method(SAMedConfig, samed.build),
}


def named(name: str) -> Method:
    """A method by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in METHODS:
        raise ConfigError(f"There is no method {name}. There are: {', '.join(METHODS)}.")
    return METHODS[name]


def config(values: Mapping[str, Any]) -> MethodConfig:
    """A method's config from its fields; without a name it is PTSAM's.

    Raises:
        ConfigError: there is no such method, or a value is outside its range.
    """
    return named(values.get("name", "ptsam")).config(**values)


def build(sam: Sam, config: MethodConfig, seed: int) -> PromptFreeSam:
    """A SAM with fresh learned parts.

    Args:
        sam: frozen here; its tensors stay as they are, and may serve other methods too.
        config: which method, and how.
        seed: of the first values of what is learned.
    """
    return METHODS[config.name].build(sam, config, seed)
