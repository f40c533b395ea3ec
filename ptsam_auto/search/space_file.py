"""Reads a search space from its YAML file. All problems of the file are reported in one error."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from ptsam_auto.errors import ConfigError, Problem, listed, suggestion
from ptsam_auto.methods import sam_methods
from ptsam_auto.search.space import ADAPT, Choice, Configuration, Halving, Range, Resources, Space, settings_of
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import types
from ptsam_auto.yaml_text import YamlError, parse_yaml

Bases = Mapping[str, Mapping[str, Any]]  # default settings by adaptation and field path
MOST_BYTES = 1_000_000  # of the file of a search space
KINDS = ("choice", "int", "log_uniform", "uniform")


def shipped() -> dict[str, Path]:
    """Return the files of the search spaces that come with the package, by name."""
    folder = Path(str(resources.files("ptsam_auto") / "search_spaces"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_space(choice: str) -> Space:
    """Read a search space.

    Args:
        choice: File, or name of a search space of the package: "decoder", "search_spaces/decoder.yaml".

    Raises:
        ConfigError: There is no such search space, or its file has problems; the message lists all of them.
    """
    path, known = Path(choice), shipped()
    if not path.is_file():
        # An installed package has no folder search_spaces/ in the user's folder, so the name alone is enough.
        name = path.stem if path.parent.name in ("", "search_spaces") else choice
        if name not in known:
            raise ConfigError(f"{choice} is neither a file nor a search space. {suggestion(name, known)}")
        path = known[name]
    text = _text(path)
    try:
        content = parse_yaml(text)
    except YamlError as error:
        where = f", line {error.line}" if error.line else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({error}).") from None
    problems = _Problems()
    values = _values_of_fields(content, problems)
    if problems:
        raise ConfigError(listed(str(path), problems, "Correct these lines, then run the command again."))
    return Space(path.stem, text, **values)


def _text(path: Path) -> str:
    """Return the text of a search space.

    Raises:
        ConfigError: It is too large to be one, is not UTF-8, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path} has more than {MOST_BYTES:,} bytes; it is no search space.")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8. Save it as UTF-8.") from None


class _Problems(list[Problem]):
    """The problems of a file."""

    def add(self, where: str, what: str) -> None:
        """Add a problem, unless it is in the list."""
        if (problem := Problem(where, what)) not in self:
            self.append(problem)

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Add a ConfigError that is raised in the block to the list of problems; reading continues after the block."""
        try:
            yield
        except ConfigError as error:
            self.add(where, str(error))


def _values_of_fields(content: object, problems: _Problems) -> dict[str, Any]:
    """Return the values of a Space by the names of its fields; they are complete if there is no problem."""
    known = [field.name for field in fields(Space) if field.name not in ("name", "text")]
    if not isinstance(content, dict):
        problems.add("", f"expected keys and values: {', '.join(known)}")
        return {}
    for key in content:
        if key not in known:
            problems.add(str(key), f"no such key. {suggestion(str(key), known)}")
    # The backbone is not known yet. The check is the same for every backbone.
    family, method = defaults.families()[0], content.get("method", "ptsam")
    if method not in list(sam_methods.SAM_METHODS):
        problems.add("method", f"{method!r}; expected one of {', '.join(sam_methods.SAM_METHODS)}")
        method = "ptsam"
    possible = defaults.adaptations(family, method)
    adapts = _one_or_several("adapt", content.get("adapt"), (possible[0],), problems)
    if any(adapt not in possible for adapt in adapts):
        problems.add("adapt", f"{content['adapt']!r}; expected {' or '.join(possible)}")
        adapts = (possible[0],)
    backbones = _one_or_several("backbone", content.get("backbone"), ("auto",), problems)
    if not all(isinstance(backbone, str) for backbone in backbones):
        what = "the name or the file of a backbone, see fit --backbone, or a list of them"
        problems.add("backbone", f"{content['backbone']!r}; expected {what}")
        backbones = ("auto",)
    values: dict[str, Any] = {"method": method, "adapt": adapts, "backbone": backbones}
    for key in ("trials", "splits", "train_images"):
        if key in content:
            values[key] = content[key]
            if type(values[key]) is not int or values[key] < 1:
                problems.add(key, f"{values[key]!r}; expected a whole number, at least 1")
    if content.get("stop_early") is False:
        values["stop_early"] = None
    elif content.get("stop_early") is not None:
        values["stop_early"] = _part("stop_early", Halving, content["stop_early"], problems)
    if content.get("resources") is not None:
        values["resources"] = _part("resources", Resources, content["resources"], problems)
    bases = {adapt: defaults.values(family, adapt, method) for adapt in adapts}
    space, known_settings = Space("", "", {}, method, adapts, backbones), types(method)
    values["fixed"] = _fixed(content.get("fixed"), known_settings, bases, space, problems)
    space = replace(space, fixed=values["fixed"])
    values["search"] = _search(content.get("search"), known_settings, bases, space, problems)
    space = replace(space, search=values["search"])
    values["first"] = _first(content.get("first"), content.get("search"), space, problems)
    return values


def _one_or_several(key: str, content: object, default: tuple[Any, ...], problems: _Problems) -> tuple[Any, ...]:
    """Return the values of a key that may be one value or a list of different values."""
    if content is None:
        return default
    values = tuple(content) if isinstance(content, list) else (content,)
    if not values:
        problems.add(key, "the list is empty; expected at least one name")
    if len(set(map(repr, values))) < len(values):
        problems.add(key, f"{content} has a name twice")
    return values or default


def _part(
    key: str, part: type[Halving] | type[Resources], content: object, problems: _Problems
) -> Halving | Resources | None:
    """Return one of the two parts that are mappings of numbers, or None if it has a problem."""
    known = {field.name: field.type for field in fields(part)}
    if not isinstance(content, dict):
        problems.add(key, f"{content!r}; expected {', '.join(known)}")
        return None
    numbers = {}
    for name, value in content.items():
        if name not in known:
            problems.add(f"{key}.{name}", f"no such key. {suggestion(str(name), known)}")
        elif type(value) not in ((int,) if known[name] is int else (int, float)):
            problems.add(f"{key}.{name}", f"{value!r}; expected a {'whole ' * (known[name] is int)}number")
        else:
            numbers[name] = value
    with problems.at(key):
        return part(**numbers)
    return None


def _check_path(path: object, known: Mapping[str, type]) -> None:
    if path == "method.name":
        raise ConfigError("this is not a setting of a space; the key method names the method")
    if path not in known:
        raise ConfigError(f"there is no such setting. {suggestion(str(path), known)}")


def _check_value(bases: Bases, space: Space, configuration: Configuration) -> None:
    """Check values together with the fixed settings, for each adaptation of the space."""
    for adapt, base in bases.items():
        settings_of(base, space, {ADAPT: adapt, **configuration})


def _fixed(
    content: object, known: Mapping[str, type], bases: Bases, space: Space, problems: _Problems
) -> Configuration:
    """Return the fixed settings that have no problem, each checked together with those before it."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.add("fixed", f"{content!r}; expected settings and their values")
        return {}
    fixed: Configuration = {}
    for path, value in content.items():
        with problems.at(f"fixed.{path}"):
            _check_path(path, known)
            _check_value(bases, replace(space, fixed=fixed), {path: value})
            fixed[path] = value
    return fixed


def _search(
    content: object, known: Mapping[str, type], bases: Bases, space: Space, problems: _Problems
) -> dict[str, Choice | Range]:
    """Return the searched settings that have no problem, checked together with the fixed settings.

    They may be missing only if the configurations differ in the backbone or the adaptation.
    """
    if content is None and space.axes:
        return {}
    if not isinstance(content, dict) or not content:
        problems.add("search", "nothing to search; expected settings, such as recipe.epochs: {choice: [10, 20]}")
        return {}
    search = {}
    for path, form in content.items():
        where = f"search.{path}"
        if path in space.fixed:
            problems.add(where, "this setting is also under fixed; keep one of the two")
        with problems.at(where):
            _check_path(path, known)
            search[path] = _choice_or_range(path, known[path], form)
            for value in search[path].ends():
                with problems.at(where):
                    _check_value(bases, space, {path: value})
    return search


def _choice_or_range(path: str, type_of_setting: type, form: object) -> Choice | Range:
    """Return the values that a setting may take, from {choice: [...]} or {log_uniform: [low, high]}."""
    kind, values = next(iter(form.items())) if isinstance(form, dict) and len(form) == 1 else (None, None)
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{form!r}; expected one of {', '.join(KINDS)}, and a list: {{choice: [1, 2]}}")
    if kind not in KINDS:
        raise ConfigError(f"there is no {kind}. {suggestion(str(kind), KINDS)}")
    if kind == "choice":
        if len(set(map(repr, values))) < len(values):
            raise ConfigError(f"choice {values} has a value twice")
        return Choice(tuple(values))
    whole, log = kind == "int", kind == "log_uniform"
    if len(values) != 2 or any(type(value) not in ((int,) if whole else (int, float)) for value in values):
        # YAML reads 1e-3 as text, because the dot is missing.
        hint = (
            " (write 1.0e-3 with the dot, otherwise YAML reads it as text)"
            if any(isinstance(value, str) for value in values)
            else ""
        )
        raise ConfigError(f"{kind} {values}; expected two {'whole ' * whole}numbers{hint}")
    if not values[0] < values[1]:
        raise ConfigError(f"{kind} {values}; expected the smaller number first")
    if log and values[0] <= 0:
        raise ConfigError(f"{kind} {values}; expected numbers above 0")
    if type_of_setting is int and not whole:
        raise ConfigError(f"{kind} proposes any number, but {path} is a whole number; use int or choice")
    return Range(values[0], values[1], log, whole)


def _first(content: object, searched: object, space: Space, problems: _Problems) -> tuple[Configuration, ...]:
    """Return the first configurations, after a check against the searched settings, backbones and adaptations.

    Args:
        content: Content of the key first.
        searched: Content of the key search.
        space: The space with the part of `searched` that has no problem.
        problems: List that problems are added to.
    """
    if content is None:
        return ()
    if not isinstance(content, list) or not all(isinstance(configuration, dict) for configuration in content):
        problems.add("first", f"{content!r}; expected a list of configurations, each with every searched setting")
        return ()
    axes = space.axes
    paths: list[object] = list(dict.fromkeys([*axes, *(searched if isinstance(searched, dict) else ())]))
    for number, configuration in enumerate(content, start=1):
        where = f"first, number {number}"
        for path in paths:
            if path not in configuration:
                problems.add(where, f"{path} is missing")
        for path, value in configuration.items():
            if path not in paths:
                problems.add(where, f"{path} is not searched")
            elif path in axes and value not in axes[path]:
                problems.add(where, f"{path} is {value!r}, which is not one of the searched values")
    return tuple(content)
