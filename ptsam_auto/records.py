"""Writes dataclasses as JSON and reads them back with validation."""

import json
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")


class RecordError(ValueError):
    """The JSON text does not match the dataclass. The message names the first wrong field."""


def to_json(record: Any, indent: int | None = None) -> str:  # noqa: ANN401 - any dataclass
    """Return a record, a dataclass of JSON types and of other records, as JSON text."""
    return json.dumps(asdict(record), indent=indent)


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """Parse JSON into a dataclass. All fields must exist and have the right type; unknown fields are an error.

    Args:
        kind: A dataclass, or a union of dataclasses.
        text: JSON text; it may come from an untrusted source.

    Raises:
        RecordError: The text is not JSON, or does not match the dataclass.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{where}: {first['msg']}" if where else first["msg"]) from None


@cache
def _adapter(kind: Any) -> Any:  # noqa: ANN401 - a type
    from pydantic import TypeAdapter  # Imported only when something is read, because the import is slow.

    return TypeAdapter(kind)
