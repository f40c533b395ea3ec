"""All that can be set about a fit, by dotted field paths: `recipe.learning_rate`, `method.decoder_prompts`, ..."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

from ptsam_auto.data.augment import Augmentation
from ptsam_auto.errors import ConfigError, suggestion
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.training.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """One configuration; without arguments the paper's PTSAM with a frozen encoder.

    Args:
        method: what is learned.
        recipe: how long, how fast, on what.
        augmentation: how training views differ.

    Raises:
        ConfigError: two settings that exclude each other.
    """

    method: PTSAMConfig = field(default_factory=PTSAMConfig)
    recipe: Recipe = field(default_factory=Recipe)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.method.encoder_prompts and self.recipe.views:
            raise ConfigError(
                f"recipe.views is {self.recipe.views}, but with encoder prompts the features change at every step; "
                "expected 0."
            )

    @classmethod
    def from_paths(cls, values: Mapping[str, Any]) -> "Settings":
        """The defaults, with some fields set.

        Args:
            values: field path to value.

        Raises:
            ConfigError: no such field, or a value of the wrong type or outside its range.
        """
        values = {path: _typed(path, value) for path, value in values.items()}
        parts = {}
        for part in fields(cls):
            prefix = f"{part.name}."
            chosen = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
            parts[part.name] = part.default_factory(**chosen)  # type: ignore[operator]
        return cls(**parts)

    def as_paths(self) -> dict[str, Any]:
        """Every field's value by its path; the inverse of `from_paths`."""
        return {f"{part}.{name}": value for part, group in asdict(self).items() for name, value in group.items()}


WORDS = {int: "a whole number", float: "a number", str: "a word"}


def types() -> dict[str, type]:
    """The type of every field, by its path."""
    return {
        f"{part.name}.{name}": kind
        for part in fields(Settings)
        for name, kind in get_type_hints(part.default_factory).items()
    }


def _typed(path: str, value: Any) -> Any:  # noqa: ANN401 - whatever a user wrote
    """The value as its field has it: a whole number is a number too, and nothing else is converted."""
    known = types()
    if path not in known:
        raise ConfigError(f"There is no setting {path}. {suggestion(path, known)}")
    kind = known[path]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} is {value!r}; expected {WORDS[kind]}.")
    return value
