"""Builds the Typer command line from the option dataclasses, so that each option is defined only once.

The annotation of a field holds its help text and how its value is parsed:

    workers: Annotated[int, Option("Number of worker processes.", min_value=1)] = 1
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

UNSET = object()


@dataclass(frozen=True)
class Argument:
    """A positional argument of the command line.

    Args:
        help: Help text, in plain whole sentences.
        name: Name in the usage line. Default: the name of the field.
    """

    help: str
    name: str | None = None


@dataclass(frozen=True)
class Option:
    """A named option (--name) of the command line.

    Args:
        help: Help text, in plain whole sentences.
        name: Name with its dashes; several names are separated by spaces. Default: the name of the field.
        min_value: Smallest number that is allowed.
        metavar: Placeholder for the value in the help.
        cli_type: Type of the value on the command line if it differs from the type of the field.
        parse: Function that converts the value of the command line to the value of the field.
        default: Default on the command line if it differs from the default of the field.
    """

    help: str
    name: str | None = None
    min_value: float | None = None
    metavar: str | None = None
    cli_type: Any = None
    parse: Callable[[Any], Any] | None = None
    default: Any = UNSET


@cache
def described_fields(options: type) -> dict[str, tuple[Field[Any], Any, Argument | Option]]:
    """Return all fields that the command line shows, by name: the field, its type, and its description.

    The class's own fields come first, then those that it inherits.
    """
    hints = get_type_hints(options, include_extras=True)
    described = {}
    for field in sorted(fields(options), key=lambda field: field.name not in options.__annotations__):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            field_type, description = get_args(hint)[:2]
            described[field.name] = field, field_type, description
    return described


def signature(options: type, extra_keywords: Mapping[str, Any] | None = None) -> inspect.Signature:
    """Return the signature of a Python function that takes these options as keywords.

    Args:
        options: Dataclass of options.
        extra_keywords: Names and defaults of further keywords.
    """
    parameters = []
    for field in fields(options):
        described = described_fields(options).get(field.name)
        is_positional = described is not None and isinstance(described[2], Argument)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(field.name, kind, default=_default(field), annotation=field.type))
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in (extra_keywords or {}).items()
    ]
    return inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))


def command(options: type, run: Callable[[Any], None], help_text: str) -> Callable[..., None]:
    """Return the function that is registered as a Typer command.

    Args:
        options: Dataclass whose fields become arguments and options.
        run: Function that is called with the filled dataclass.
        help_text: Help text of the command.
    """
    import typer

    described = described_fields(options)

    def call(**values: Any) -> None:  # noqa: ANN401 - the types of the fields differ
        for name, (_, _, description) in described.items():
            if isinstance(description, Option) and description.parse is not None:
                text = values.pop(name)
                if text is not None:  # An option that is not given keeps the default of the dataclass.
                    values[name] = description.parse(text)
        run(options(**values))

    parameters = []
    for name, (field, field_type, description) in described.items():
        default = _default(field)
        if isinstance(description, Argument):
            info: Any = typer.Argument(help=description.help, metavar=description.name)
        else:
            flags = description.name.split() if description.name else []
            info = typer.Option(*flags, help=description.help, min=description.min_value, metavar=description.metavar)
            field_type = description.cli_type or field_type
            if description.default is not UNSET:
                default = description.default
            elif description.cli_type:
                default = None
        annotation = Annotated[field_type, info]  # type: ignore[valid-type]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = help_text
    return call


def _default(field: Field[Any]) -> Any:  # noqa: ANN401 - the types of the fields differ
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def read_settings(texts: list[str]) -> dict[str, Any]:
    """Parse PATH=VALUE. VALUE is TOML (10, 0.05, "input"); text without quotes is accepted as a string."""
    import tomllib

    import typer

    values = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not PATH=VALUE.", param_hint="--set")
        try:
            values[path] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[path] = value
    return values


def read_numbers(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of whole numbers."""
    import typer

    if not all(part.strip().isdigit() for part in text.split(",")):
        raise typer.BadParameter(f"{text!r} is not a list of numbers, such as 16,32,64.", param_hint="--sizes")
    return tuple(int(part) for part in text.split(","))


def read_names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of names."""
    return tuple(part.strip() for part in text.split(","))
