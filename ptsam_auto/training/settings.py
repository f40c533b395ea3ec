"""All that can be set about a fit, by dotted field paths: `recipe.learning_rate`, `method.decoder_prompts`, ..."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.errors import ConfigError, suggestion
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
            ConfigError: no such method, no such field, or a value of the wrong type or outside its range.
        """
        method = values.get("method.name", "ptsam")
        known = types(method)
        values = {path: _typed(path, value, known) for path, value in values.items()}
        parts = {}
        for part, kind in _kinds(method).items():
            prefix = f"{part}."
            chosen = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
            parts[part] = kind(**chosen)
        return cls(**parts)

    def as_paths(self) -> dict[str, Any]:
        """Every field's value by its path; the inverse of `from_paths`."""
        return {f"{part}.{name}": value for part, group in asdict(self).items() for name, value in group.items()}


WORDS = {int: "a whole number", float: "a number", str: "a word"}


def types(method: str = "ptsam") -> dict[str, type]:
    """The type of every field, by its path.

    Raises:
        ConfigError: there is no such method.
    """
    return {
        f"{part}.{name}": hint for part, kind in _kinds(method).items() for name, hint in get_type_hints(kind).items()
    }


def _kinds(method: str) -> dict[str, type]:
    """What each part of the settings is made of."""
    return {"method": registry.named(method).config, "recipe": Recipe, "augmentation": Augmentation}


def _typed(path: str, value: Any, known: Mapping[str, type]) -> Any:  # noqa: ANN401 - whatever a user wrote
    """The value as its field has it: a whole number is a number too, and nothing else is converted."""
    if path not in known:
        raise ConfigError(f"There is no setting {path}. {suggestion(path, known)}")
    kind = known[path]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} is {value!r}; expected {WORDS[kind]}.")
    return value
