"""The values of JSON records, and the texts that are in them."""

import json
import math
from collections.abc import Iterator
from typing import Any


class RecordError(Exception):
    """What is wrong with one record; whoever reads the file adds its name and the line."""


class RepeatedNameError(RecordError):
    """A record with a name twice: which of its values counts, nobody can say."""


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
        raise RecordError(f"holds {name}, which is no number")


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
    """Any value as text that UTF-8 can hold: the halves of surrogate pairs are joined, lone ones replaced."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    plain = str(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def leaves(value: Any) -> Iterator[str]:
    """The texts in a value, however its lists are nested; what is empty has none.

    Raises `RecordError` for a record among them.
    """
    if isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, dict):
        raise RecordError("a record of names and values stands where text is expected")
    elif plain := as_text(value):
        yield plain
