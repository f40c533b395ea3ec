"""Reads YAML that may come from somebody else."""

from typing import Any

MOST_OPEN = 50  # brackets that are open at the same time


class YamlError(ValueError):
    """The text is not YAML, or uses more of YAML than is read. The message is the end of a sentence.

    Args:
        message: What is wrong.
        line: Number of the line from 1, or None.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - YAML
    """Return the content of a text. Only plain values, lists and mappings are read; tags and references are refused.

    Raises:
        YamlError: It is not YAML, is too deeply nested, or has tags or references.
    """
    import yaml  # Imported only when something is read.

    # The time of the parser grows with the square of the number of open brackets.
    is_open = 0
    for character in text:
        is_open += (character in "[{") - (character in "]}")
        if is_open > MOST_OPEN:
            raise YamlError("it is too deeply nested")
    try:
        # A thousand bytes of references to references can stand for gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise YamlError("it has references (*name), which are not read")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise YamlError(str(getattr(error, "problem", error)), mark.line + 1 if mark else None) from None
    except RecursionError:
        raise YamlError("it is too deeply nested") from None
    except (ValueError, OverflowError, TypeError, LookupError) as error:
        # Such as the 99th of a month, or a list as a key; `YamlError` is one of them.
        raise error if isinstance(error, YamlError) else YamlError(str(error)) from None
