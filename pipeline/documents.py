"""Records as plain JSON values, and back."""

import dataclasses
import json
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import DamagedError

Record = TypeVar("Record")


def as_document(record: Any) -> dict[str, Any]:
    """A dataclass as plain values, its fields by name; plain values are returned as they are."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    document: dict[str, Any] = record
    return document


def as_record(kind: type[Record], document: Any, where: object) -> Record:
    """The dataclass that `as_document` made plain; a field that an earlier version did not write has its default.

    Raises `DamagedError` that names `where` the document stands, and the field that does not fit.
    """
    try:
        record: Record = _adapter(cast("Hashable", kind)).validate_python(document)
        return record
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise DamagedError(f"{where} is damaged, or of a version that this one cannot read ({problems})") from error


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def spelled(value: Any) -> str:
    """A configuration value as MLflow's parameters have it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by points; an empty table is left out."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
