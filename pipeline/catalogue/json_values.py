"""The values of JSON records, and the texts that are in them."""

import json
import math
from collections.abc import Iterator
from typing import Any


class RecordError(Exception):
    """What is wrong with one record; the reader of the file adds its name and the line."""


class RepeatedNameError(RecordError):
    """A record with a name twice: it is unknown which value counts."""


def parse_json(line: str) -> Any:
    """One JSON value; NaN, which Python and pandas write for what is missing, is null.

    Raises `RecordError` for anything else, and for a record with a name twice.
    """
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not JSON ({error})") from error


def _constant(name: str) -> None:
    if name != "NaN":
        raise RecordError(f"holds {name}, which is not a number")


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedNameError(f"has the name {next(name for name in names if names.count(name) > 1)!r} twice")
    return record


_DECODER = json.JSONDecoder(
    parse_constant=_constant, object_pairs_hook=_record
)  # once: `json.loads` would make one for every line


def as_text(value: Any) -> str | None:
    """Any value as text that UTF-8 can hold: the halves of surrogate pairs are joined, lone ones replaced.

    Truth values are spelled as in JSON.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    plain = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def leaves(value: Any) -> Iterator[str]:
    """The texts in a value, however its lists are nested; what is empty has none.

    Raises `RecordError` for a record among them.
    """
    for part in _parts(value):
        if isinstance(part, dict):
            raise RecordError("a record of names and values stands where text is expected")
        if plain := as_text(part):
            yield plain


def holds_record(value: Any) -> bool:
    """Whether a value is a record, or has one somewhere in its lists."""
    return any(isinstance(part, dict) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """What is in a value's lists, in its order; without recursion, which ends at some depth."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, list | tuple):
            pending.extend(reversed(part))
        else:
            yield part


def require_names(record: dict[str, Any]) -> None:
    """Raise `RecordError` for a name that UTF-8 cannot hold, and so no table: the half of a surrogate pair."""
    try:
        "".join(record).encode()
    except UnicodeEncodeError as error:
        wrong = next(name for name in record if error.object[error.start] in name)
        raise RecordError(f"has the name {wrong!r}, which is not text") from error
