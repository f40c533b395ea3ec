"""Table of the SAM-based methods: configuration class and build function. For nnU-Net see `baselines`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import autosam, cellseg1, ptsam, samed
from ptsam_auto.methods.autosam import AutoSAMConfig
from ptsam_auto.methods.cellseg1 import CellSeg1Config
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig
from ptsam_auto.sam.published import Sam
from ptsam_auto.sam.tiles import Tiling

MethodConfig = PTSAMConfig | CellSeg1Config | AutoSAMConfig | SAMedConfig


@dataclass(frozen=True)
class SamMethod:
    """A SAM-based method: one row of the paper's Table 1, or two if the encoder can be tuned or frozen.

    Args:
        config: Class of the method's configuration.
        build: Function that builds the method from a SAM, its configuration and a random seed.
    """

    config: type[MethodConfig]
    build: Callable[[Sam, Any, int], PromptFreeSam]


SAM_METHODS = {
    "ptsam": SamMethod(PTSAMConfig, ptsam.build),
    "cellseg1": SamMethod(CellSeg1Config, cellseg1.build),
    "autosam": SamMethod(AutoSAMConfig, autosam.build),
    "samed": SamMethod(SAMedConfig, samed.build),
}


def named(name: str) -> SamMethod:
    """Return a method by its name.

    Raises:
        ConfigError: There is no method of that name.
    """
    if name not in SAM_METHODS:
        raise ConfigError(f"There is no method {name}. There are: {', '.join(SAM_METHODS)}.")
    return SAM_METHODS[name]


def config(values: Mapping[str, Any]) -> MethodConfig:
    """Return a method's configuration from its fields. If "name" is missing, the method is PTSAM.

    Raises:
        ConfigError: There is no such method, or a value is outside its range.
    """
    return named(values.get("name", "ptsam")).config(**values)


def build(sam: Sam, config: MethodConfig, seed: int, tiling: Tiling | None = None, classes: int = 1) -> PromptFreeSam:
    """Return a SAM with newly initialised learned parts.

    Args:
        sam: SAM; its weights are set to frozen and can be shared with other methods.
        config: Configuration of a method.
        seed: Random seed for the initial values of the learned parts.
        tiling: Rule by which images are cut into tiles. By default every image gets `config.tiles` tiles along its
            longer side, whatever its size.
        classes: Number of classes.

    Raises:
        ConfigError: The method finds one class only.
    """
    check_classes(config.name, classes)
    if classes > 1:
        assert isinstance(config, PTSAMConfig)
        model = ptsam.build(sam, config, seed, classes)
    else:
        model = SAM_METHODS[config.name].build(sam, config, seed)
    model.tiling = tiling or Tiling(config.tiles)
    return model


def build_like(model: PromptFreeSam, config: MethodConfig) -> PromptFreeSam:
    """Return a SAM with newly initialised learned parts, on the same frozen SAM and with the same tiling as a model."""
    return build(model.sam, config, 0, model.tiling, model.classes).to(model.device).eval()


def check_classes(method: str, classes: int) -> None:
    """Check that a method can find this number of classes.

    Raises:
        ConfigError: It cannot.
    """
    if classes > 1 and method != "ptsam":
        raise ConfigError(
            f"The method {method} finds one class, but the images have {classes}.\n"
            "Use --method ptsam, which finds all of them at once, or choose one with --class NAME."
        )
