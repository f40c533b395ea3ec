"""All that can be set about a fit, by dotted field paths: `recipe.learning_rate`, `method.decoder_prompts`, ..."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import registry
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.training.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """One configuration; without arguments the paper's PTSAM with a frozen encoder.

    Args:
        method: what is learned; the config of a method in `methods.registry`.
        recipe: how long, how fast, on what.
        augmentation: how training views differ.

    Raises:
        ConfigError: two settings that exclude each other.
    """

    method: Any = field(default_factory=PTSAMConfig)
    recipe: Recipe = field(default_factory=Recipe)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.method.tunes_encoder and self.recipe.views:
            raise ConfigError(
                f"recipe.views is {self.recipe.views}, but with a tuned encoder the features change at every step; "
                "expected 0."
            )

    @classmethod
    def from_paths(cls, values: Mapping[str, Any]) -> "Settings":
        """The defaults, with some fields set; method.name says whose, PTSAM's where it is missing.

        Args:
            values: field path to value.

        Raises:
            ConfigError: no such method, no such field, or a value outside its range.
        """
        kinds = {part.name: part.default_factory for part in fields(cls)}
        kinds["method"] = registry.named(values.get("method.name", "ptsam")).config
        known = {f"{part}.{one.name}" for part, kind in kinds.items() for one in fields(kind)}  # type: ignore[arg-type]
        for path in values:
            if path not in known:
                near = difflib.get_close_matches(path, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(sorted(known))}."
                raise ConfigError(f"There is no setting {path}.{hint}")
        parts = {}
        for part, kind in kinds.items():
            prefix = f"{part}."
            chosen = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
            parts[part] = kind(**chosen)  # type: ignore[operator]
        return cls(**parts)
