"""Writes dataclasses as JSON and reads them back with validation."""

import json
import math
import re
import zlib
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ptsam_auto.errors import PtsamError

Record = TypeVar("Record")
# The last field of a sealed record: a checksum of everything before it. It has no space after the colon, so a program
# that has read a record and writes it again with a change writes no seal.
SEAL = re.compile(rb',\s*"crc32":"([0-9a-f]{8})"\s*}\s*$')
MOST_BYTES = 20_000_000  # of one record; a specialist of 10,000 images has a quarter of it


class RecordError(ValueError):
    """The JSON text does not match the dataclass. The message names the first wrong field."""


def to_json(record: Any, indent: int | None = None) -> str:  # noqa: ANN401 - any dataclass
    """Return a record, a dataclass of JSON types and of other records, as JSON text."""
    return json.dumps(asdict(record), indent=indent)


def to_sealed_json(record: Any, indent: int | None = None) -> str:  # noqa: ANN401 - any dataclass
    """Return a record as JSON text whose last field is a checksum; `from_json` notices if the text has changed."""
    gap = "\n" if indent else ""
    content = to_json(record, indent).removesuffix(f"{gap}}}")
    checksum = zlib.crc32(content.encode())
    return f'{content},{gap}{" " * (indent or 0)}"crc32":"{checksum:08x}"{gap}}}'


def read_json(kind: type[Record], path: Path, most_bytes: int = MOST_BYTES) -> Record:
    """Read a file of JSON into a dataclass; see `from_json`. Of a file that is too large, only the limit is read.

    Raises:
        RecordError: The file does not contain JSON that matches the dataclass.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return from_json(kind, file.read(most_bytes + 1), most_bytes)


def from_json(kind: type[Record], text: str | bytes, most_bytes: int = MOST_BYTES) -> Record:
    """Parse JSON into a dataclass. All fields without a default must exist; all must have the right type.

    Args:
        kind: A dataclass, or a union of dataclasses.
        text: JSON text; it may come from an untrusted source.
        most_bytes: Largest size of the text; parsing takes thirty times as much memory.

    Raises:
        RecordError: The text is not JSON, is too large or too deeply nested, does not match the dataclass, has a number
            that is not finite, or is sealed and has changed since.
    """
    from pydantic import ValidationError

    if len(text) > most_bytes:
        raise RecordError(f"it has more than {most_bytes:,} bytes")
    content = _unsealed(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        record: Record = _adapter(kind).validate_json(content, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except PtsamError as error:  # A dataclass of ours has refused its values.
        raise RecordError(str(error)) from None
    if (place := _not_finite(record)) is not None:
        raise RecordError(f"{place}: Input should be a finite number")
    return record


def _unsealed(text: bytes) -> bytes:
    """Return the text of a record without its checksum, if it has one.

    Raises:
        RecordError: The text has changed since it was sealed.
    """
    seal = SEAL.search(text)
    if seal is None:
        return text
    if zlib.crc32(text[: seal.start()]) != int(seal[1], 16):
        raise RecordError("it has changed since it was written; if you changed it yourself, remove its field crc32")
    return text[: seal.start()] + b"}"


def _not_finite(value: Any, where: str = "") -> str | None:  # noqa: ANN401 - any part of a record
    """Return the place of the first number that is not finite, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    parts: Any = ()
    if is_dataclass(value):
        parts = ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    found = (_not_finite(part, f"{where}.{name}" if where else str(name)) for name, part in parts)
    return next((place for place in found if place is not None), None)


@cache
def _adapter(kind: Any) -> Any:  # noqa: ANN401 - a type
    from pydantic import TypeAdapter  # Imported only when something is read, because the import is slow.

    return TypeAdapter(kind)
