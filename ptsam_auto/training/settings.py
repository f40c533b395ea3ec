"""All settings of a fit, by dotted field paths: `recipe.learning_rate`, `method.decoder_prompts`, ..."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.errors import ConfigError, suggestion
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.training.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """One configuration; without arguments the paper's PTSAM with a frozen encoder.

    Args:
        method: Configuration of a method in `methods.sam_methods`.
        recipe: Training settings.
        augmentation: Augmentation of the training views.

    Raises:
        ConfigError: Two settings cannot be combined.
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
        """Return settings from field paths; all other fields have their defaults.

        Args:
            values: Values by field path. "method.name" selects the method; if it is missing, the method is PTSAM.

        Raises:
            ConfigError: There is no such method or field, or a value is of the wrong type or outside its range.
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
        """Return the value of every field by its path, as `from_paths` reads them."""
        return {f"{part}.{name}": value for part, group in asdict(self).items() for name, value in group.items()}


TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def types(method: str = "ptsam") -> dict[str, type]:
    """Return the type of every field, by its path.

    Raises:
        ConfigError: There is no such method.
    """
    return {
        f"{part}.{name}": hint for part, kind in _kinds(method).items() for name, hint in get_type_hints(kind).items()
    }


def _kinds(method: str) -> dict[str, type]:
    """Return the class of each part of the settings."""
    return {"method": sam_methods.named(method).config, "recipe": Recipe, "augmentation": Augmentation}


def _typed(path: str, value: Any, known: Mapping[str, type]) -> Any:  # noqa: ANN401 - whatever a user wrote
    """Check the type of a value. A whole number is converted for a field of type float; nothing else is converted."""
    if path not in known:
        raise ConfigError(f"There is no setting {path}. {suggestion(path, known)}")
    kind = known[path]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} is {value!r}; expected {TYPE_NAMES[kind]}.")
    return value
