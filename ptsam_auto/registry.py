"""The methods that `fit` supports: how each one is configured, trained and loaded.

To add a method that is based on SAM, see `methods.sam_methods`. For a method that is not based on SAM, add a class here
that implements `Method` (see `NnunetMethod`), and a trainer (`training.trainer.Trainer`) that returns a model
(`methods.model.Model`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from ptsam_auto.baselines import nnunet
from ptsam_auto.baselines.nnunet import Nnunet, NnunetTrainer
from ptsam_auto.data.dataset import Pair
from ptsam_auto.errors import ConfigError, Problem, listed
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.model import Model
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.training import defaults
from ptsam_auto.training.defaults import Sourced
from ptsam_auto.training.scale import Scale
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer, Trainer, Untuned

USER = "set by the user"


@dataclass(frozen=True)
class Choices:
    """The user's choices for a training; see `commands.options.FitOptions`.

    Args:
        backbone: Value of --backbone.
        adapt: "decoder", "encoder", or None for the default.
        settings: Values that replace the defaults, by field path.
        batch_size: Number of images per step, or None for the default.
        workers: Number of workers.
        device: Device, such as "cpu" or "cuda:0".
    """

    backbone: str = "auto"
    adapt: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    workers: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Plan:
    """The trainer and the settings of one training, as decided by `Method.plan`.

    Args:
        trainer: Trainer of the method.
        adapt: "decoder", "encoder" or "scratch".
        config: Settings of the method ("method"), and its other groups of settings if it has them ("recipe",
            "augmentation").
        sources: Every setting with its source, by field path.
        untuned: The untuned network for comparison, or None if the method has none.
        searched: Metadata of the search that the defaults come from, or None.
        search_overlap: Number of the given images that were also used to select the defaults, by dataset of the search.
    """

    trainer: Trainer
    adapt: str
    config: Mapping[str, dict[str, Any]]
    sources: Mapping[str, Sourced]
    untuned: Untuned | None = None
    searched: Mapping[str, Any] | None = None
    search_overlap: Mapping[str, int] = field(default_factory=dict)


class Method(Protocol):
    """Interface of a method of `fit`."""

    @property
    def name(self) -> str:
        """Return the name on the command line and in specialist.json."""

    @property
    def needs_backbone(self) -> bool:
        """Return whether the method is based on a SAM."""

    @property
    def package(self) -> str:
        """Return the Python package that implements the network; its version is saved in specialist.json."""

    def plan(self, choices: Choices, backbone: Backbone | None, images: Sequence[Pair] = ()) -> Plan:
        """Combine the defaults and the user's choices into a training plan.

        Args:
            choices: Choices of the user.
            backbone: The SAM that the method is based on, or None for methods without SAM.
            images: All training and test images; they are compared with those that the defaults were selected on.

        Raises:
            ConfigError: The method does not support a choice, or two choices exclude each other.
        """

    def rebuild(
        self,
        config: Mapping[str, Any],
        design: Mapping[str, Any] | None,
        scale: Scale | None,
        backbone: Backbone | None,
        device: str,
        classes: int = 1,
    ) -> Model:
        """Build the model of a specialist. Its learned parameters are loaded afterwards.

        Args:
            config: Settings of the method in specialist.json.
            design: Further information to rebuild the network; see `SpecialistRecord`.
            scale: Scale of the images, or None if the method has none.
            backbone: The SAM that the specialist was trained with, or None for methods without SAM.
            device: Device, such as "cpu" or "cuda:0".
            classes: Number of classes.

        Raises:
            ConfigError, KeyError, TypeError, ValueError: The config or the design does not belong to the method.
        """


@dataclass(frozen=True)
class MethodOnSam:
    """PTSAM or another method that is based on SAM; see `methods.sam_methods`."""

    name: str
    needs_backbone: bool = True
    package: str = "segment-anything"

    def plan(self, choices: Choices, backbone: Backbone | None, images: Sequence[Pair] = ()) -> Plan:
        """Combine the defaults and the user's choices; see `Method.plan`."""
        assert backbone is not None
        if "method.name" in choices.settings:
            raise ConfigError("method.name cannot be set. Choose a method with --method.")
        adapt = self._adapt(choices, backbone.family)
        sources = defaults.block(backbone.family, adapt, self.name)
        if choices.batch_size is not None:
            sources |= _for_batch_size(choices.batch_size, sources)
        sources |= {path: Sourced(value, USER) for path, value in choices.settings.items()}
        settings = Settings.from_paths({path: source.value for path, source in sources.items()})
        return Plan(
            trainer=SamTrainer(backbone, settings),
            adapt=adapt,
            config=asdict(settings),
            sources=sources,
            untuned=Untuned(backbone, settings),
            searched=defaults.evidence(backbone.family, adapt, self.name),
            search_overlap=defaults.searched_on(backbone.family, adapt, self.name, (pair.digest for pair in images)),
        )

    def rebuild(
        self,
        config: Mapping[str, Any],
        design: Mapping[str, Any] | None,
        scale: Scale | None,
        backbone: Backbone | None,
        device: str,
        classes: int = 1,
    ) -> Model:
        """Build the model of a specialist; see `Method.rebuild`."""
        if backbone is None or scale is None:
            raise ValueError(f"{self.name} needs a backbone and a scale")
        settings = sam_methods.config(config)
        return sam_methods.build(backbone.sam, settings, 0, scale.tiling, classes).to(device).eval()

    def _adapt(self, choices: Choices, family: str) -> str:
        possible = defaults.adaptations(family, self.name)
        kind = "cuda" if choices.device.startswith("cuda") else "cpu"
        adapt = choices.adapt or defaults.adaptation(family, kind, self.name).value
        if adapt not in possible:
            raise ConfigError(f"{self.name} adapts only the {possible[0]}, not the {adapt}. Remove --adapt {adapt}.")
        return adapt


@dataclass(frozen=True)
class NnunetMethod:
    """nnU-Net, which chooses most of its settings itself and trains a network from scratch."""

    name: str = nnunet.NAME
    needs_backbone: bool = False
    package: str = "nnunetv2"

    def plan(self, choices: Choices, backbone: Backbone | None, images: Sequence[Pair] = ()) -> Plan:
        """Combine the defaults and the user's choices; see `Method.plan`."""
        self._check_choices(choices)
        cpu_defaults = {f"{nnunet.PREFIX}gpu_memory_gb": nnunet.CPU_MEMORY_GB} if choices.device == "cpu" else {}
        config = nnunet.config_of({**cpu_defaults, **choices.settings})
        sources = {}
        for name, value in asdict(config).items():
            path = nnunet.PREFIX + name
            default = "default of ptsam-auto on a CPU" if path in cpu_defaults else "Sec. 4.1.3, or nnU-Net's default"
            sources[path] = Sourced(value, USER if path in choices.settings else default)
        return Plan(
            trainer=NnunetTrainer(config),
            adapt="scratch",
            config={"method": {"name": self.name, **asdict(config)}},
            sources=sources,
        )

    def rebuild(
        self,
        config: Mapping[str, Any],
        design: Mapping[str, Any] | None,
        scale: Scale | None,
        backbone: Backbone | None,
        device: str,
        classes: int = 1,
    ) -> Model:
        """Build the model of a specialist; see `Method.rebuild`."""
        sam_methods.check_classes(self.name, classes)
        if design is None:
            raise ValueError("nnU-Net needs its design")
        return Nnunet(design, None, device)

    def _check_choices(self, choices: Choices) -> None:
        """Raise one error that lists all choices that nnU-Net does not support."""
        problems = [
            Problem(f"--set {path}", f"the settings of nnU-Net begin with {nnunet.PREFIX}")
            for path in choices.settings
            if not path.startswith(nnunet.PREFIX)
        ]
        unsupported = {
            "--backbone": choices.backbone != "auto" and "nnU-Net trains a network from scratch",
            "--adapt": choices.adapt is not None and "nnU-Net trains a network from scratch",
            "--batch-size": choices.batch_size is not None and "nnU-Net chooses the batch size itself",
            "--workers": choices.workers > 1
            and f"nnU-Net starts its own worker processes; set {nnunet.PREFIX}workers with --set",
        }
        problems += [Problem(option, reason) for option, reason in unsupported.items() if reason]
        if problems:
            raise ConfigError(listed("The command", problems, "Remove these options, then run the command again."))


METHODS: dict[str, Method] = {
    **{name: MethodOnSam(name) for name in sam_methods.SAM_METHODS},
    nnunet.NAME: NnunetMethod(),
}


def method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        ConfigError: There is no method of this name.
    """
    if name not in METHODS:
        raise ConfigError(f"There is no method {name}. There are: {', '.join(METHODS)}.")
    return METHODS[name]


def _for_batch_size(batch_size: int, sources: Mapping[str, Sourced]) -> dict[str, Sourced]:
    """Return the settings for another batch size: the learning rate is scaled with the square root of the batch size.

    This is the scaling rule for AdamW; see Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient
    algorithms".
    """
    before, rate = (sources[path] for path in ("recipe.batch_size", "recipe.learning_rate"))
    scaled = rate.value * math.sqrt(batch_size / before.value)
    source = f"{rate.value} ({rate.source}) x sqrt({batch_size} / {before.value}), for a batch size of {batch_size}"
    return {"recipe.batch_size": Sourced(batch_size, USER), "recipe.learning_rate": Sourced(scaled, source)}
