"""Columns made from the fields of a record, each tolerant of what such files are known to hold and of nothing else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.catalogue.json_values import RecordError, as_text, leaves

Record = Mapping[str, Any]
_END_OF_TIME = 253_402_300_800
"""Seconds from 1970 to the year 10,000."""


@dataclass(frozen=True)
class Field:
    """A column: its type, and how its value is read from a record."""

    type: pa.DataType
    read: Callable[[Record], Any]
    """Raises `RecordError` for a required key that is missing or a value that cannot be used."""


def identifier(key: str) -> Field:
    """A required id, which is text."""

    def read(record: Record) -> str | None:
        value = _required(record, key)
        if value is not None and not isinstance(value, str):
            raise RecordError(f"{key!r} is {value!r}, expected text")
        return as_text(value)

    return Field(pa.string(), read)


def number(key: str) -> Field:
    """A required number."""

    def read(record: Record) -> float | None:
        value = _required(record, key)
        return None if value is None else _as_number(value, key)

    return Field(pa.float64(), read)


def moment(key: str, unit: Literal["s", "ms"]) -> Field:
    """A required moment: whole seconds or milliseconds since 1970, UTC."""
    limit = _END_OF_TIME * (1000 if unit == "ms" else 1)

    def read(record: Record) -> int | None:
        value = _required(record, key)
        if value is None:
            return None
        count = _as_number(value, key)
        if not abs(count) < limit:
            raise RecordError(f"{key!r} is {value!r}, expected a moment in {unit} since 1970")
        return int(count)

    return Field(pa.timestamp(unit, "UTC"), read)


def text(key: str) -> Field:
    """A text; null where the key is missing. A list is joined by blanks."""
    return Field(pa.string(), lambda record: " ".join(_leaves(record, key)) or None)


def texts(key: str) -> Field:
    """The texts of a list, however nested, each once, in order; null where the key is missing."""
    return Field(pa.list_(pa.string()), lambda record: list(dict.fromkeys(_leaves(record, key))) or None)


def _leaves(record: Record, key: str) -> Iterator[str]:
    try:
        yield from leaves(record.get(key))
    except RecordError as error:
        raise RecordError(f"{key!r}: {error}") from error


def _required(record: Record, key: str) -> Any:
    if key not in record:
        raise RecordError(f"there is no {key!r}, only {', '.join(map(str, record)) or 'an empty record'}")
    return record[key]


def _as_number(value: Any, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"{key!r} is {value!r}, expected a number") from error


def file_name(url: str | None) -> str | None:
    """The last part of an address: the name under which a downloader stores the picture."""
    return url.rsplit("/", 1)[-1] or None if url else None
