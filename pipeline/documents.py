"""Records as plain JSON values, and back; passwords stay out of what is written for others."""

import dataclasses
import json
import re
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import StoreError

Record = TypeVar("Record")
_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)")


def as_document(record: Any) -> dict[str, Any]:
    """A dataclass as plain values, its fields by name; what is plain already is given back."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    document: dict[str, Any] = record
    return document


def as_record(kind: type[Record], document: Any, where: object) -> Record:
    """The dataclass that `as_document` made plain; a field that an earlier version did not write has its default.

    Raises `StoreError` that names `where` the document stands, and the field that does not fit.
    """
    try:
        record: Record = _adapter(cast("Hashable", kind)).validate_python(document)
        return record
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise StoreError(f"{where} is damaged, or of a version that this one cannot read ({problems})") from error


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def without_passwords(value: Any) -> Any:
    """Copy plain JSON values with the password of every `scheme://user:password@host` replaced by `***`."""
    if isinstance(value, str):
        return _PASSWORD.sub(r"\g<before>***", value)
    if isinstance(value, dict):
        return {key: without_passwords(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(inner) for inner in value]
    return value


def spelled(value: Any) -> str:
    """A configuration value as MLflow's parameters have it: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by points; an empty table is left out."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
