"""Lines of JSON as tables: every column gets one type, whatever the order of the lines.

A column is whole numbers, numbers or truth values where all its values are, and text where they are mixed. A column
with a list in it, however nested, becomes lists of text: the leaves. One with a record in it has a record's type and no
values: it has no obvious text.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from pipeline.catalogue.column_types import stack_frames
from pipeline.catalogue.copies import scan_copies
from pipeline.catalogue.json_values import RecordError, as_text, holds_record, leaves, parse_json, require_names
from pipeline.catalogue.text_files import EmptyFileError, numbered_lines
from pipeline.errors import InputError

_BATCH = 10_000
_MOST_COLUMNS = 4096
_LIST, _RECORD = pa.list_(pa.string()), pa.struct([("record", pa.string())])
_INT64 = range(-(2**63), 2**63)
_SIMPLE = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
_NUMBERS = {pa.int64(), pa.float64()}


def scan_json_lines(path: UPath) -> pl.LazyFrame:
    """Open a file with one JSON record a line.

    Raises:
        EmptyFileError: a file without a record.
        InputError: it is not such a file; names the line.
    """
    return stack_frames(scan_copies(path, _JsonCopy(_BATCH)))


@dataclass(frozen=True)
class _JsonCopy:
    batch: int

    def __call__(self, path: UPath, folder: Path) -> None:
        known: dict[str, pa.DataType] = {}
        while not self._write(path, folder, known):  # the second time with all types known, so that none changes
            for part in folder.iterdir():
                part.unlink()

    def _write(self, path: UPath, folder: Path, known: dict[str, pa.DataType]) -> bool:
        """Write all records; False where a column became text after some of its values were written as numbers."""
        writer, number, whole = None, 0, True
        records = _records(path)
        try:
            while batch := list(islice(records, self.batch)):
                before = dict(known)
                columns = _columns(path, batch, known)
                schema = pa.schema(known.items())
                whole = whole and not _respelled(before, known)
                if writer is None or known != before:
                    if writer is not None:
                        writer.close()
                    writer = pq.ParquetWriter(folder / f"{number:06d}.parquet", schema, compression="zstd")
                    number += 1
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        finally:
            if writer is not None:
                writer.close()
        if not number:
            raise EmptyFileError(f"{path} cannot be read as jsonl: it is empty; write it anew")
        return whole


def _respelled(before: dict[str, pa.DataType], known: dict[str, pa.DataType]) -> bool:
    """Whether values that were not text are now: their text is that of the file, not that of a column of numbers."""
    return any(
        not pa.types.is_null(kind) and kind != known[name] and known[name] in (pa.string(), _LIST)
        for name, kind in before.items()
    )


def _records(path: UPath) -> Iterator[dict[str, Any]]:
    for number, line in numbered_lines(path):
        try:
            record = parse_json(line)
            if isinstance(record, dict):
                require_names(record)
        except RecordError as error:
            whole = "; is it one JSON document? Write one record a line" if line.startswith(("[", "{")) else ""
            raise InputError(f"{path}, line {number}: {error}; correct the line or take it out{whole}") from error
        if not isinstance(record, dict):
            raise InputError(
                f"{path}, line {number}: is a {type(record).__name__}, not a record of names and values; write one "
                "record a line"
            )
        yield record


def _columns(path: UPath, batch: Sequence[dict[str, Any]], known: dict[str, pa.DataType]) -> list[pa.Array]:
    """The columns of some records; `known`, the types so far, is widened where it does not fit."""
    for name in dict.fromkeys(name for record in batch for name in record):
        kind = _kind(record.get(name) for record in batch)
        known[name] = _wider(known.get(name, pa.null()), kind)
    if len(known) > _MOST_COLUMNS:
        raise InputError(f"{path}: more than {_MOST_COLUMNS:,} names in its records; write a table of named columns")
    return [_column(path, name, [record.get(name) for record in batch], kind) for name, kind in known.items()]


def _column(path: UPath, name: str, values: list[Any], kind: pa.DataType) -> pa.Array:
    """Raises `InputError` for a number such as 1e999, which JSON has and float64 has not."""
    array = _array(values, kind)
    if kind == pa.float64() and pc.any(pc.is_inf(array)).as_py():
        raise InputError(
            f"{path}, column {name}: a number is too large for float64, which ends at 1.8e308, and would be infinite; "
            "correct it, or write null"
        )
    return array


def _kind(values: Iterable[Any]) -> pa.DataType:
    some = [value for value in values if value is not None]
    classes = set(map(type, some))
    if not classes:
        return pa.null()
    if classes & {dict, list} and any(map(holds_record, some)):
        return _RECORD
    if list in classes:
        return _LIST
    if int in classes and not all(value in _INT64 for value in some if type(value) is int):
        return pa.string()
    if len(classes) == 1:
        return _SIMPLE[classes.pop()]
    return pa.float64() if classes == {int, float} else pa.string()


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds both."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _RECORD in (one, other):
        return _RECORD
    if _LIST in (one, other):
        return _LIST
    return pa.float64() if {one, other} == _NUMBERS else pa.string()


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == _RECORD:
        return pa.nulls(len(values), kind)
    if kind == _LIST:
        return pa.array([None if value is None else list(leaves(value)) for value in values], kind)
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    try:
        return pa.array(values, kind)
    except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError):  # halves of surrogate pairs; numbers beside text
        return pa.array(list(map(as_text, values)), kind)
