"""Parquet files, read where they are. What Polars cannot open although its meaning is plain is copied first."""

import functools
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.catalogue.blame import UNREADABLE, first_line
from pipeline.catalogue.copies import file_token, scan_copies
from pipeline.catalogue.text_files import EmptyFileError
from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing
from pipeline.storage.arrow import polars_name, polars_options

_NO_VALUES = pa.struct([("record", pa.string())])


def scan_parquet(path: UPath) -> pl.LazyFrame:
    """Open a Parquet file.

    Raises:
        EmptyFileError: a file of no bytes.
        InputError: it is not a whole Parquet file.
    """
    if any(_odd(_schema(path, file_token(path)))):
        return scan_copies(path, _Plain())[0]
    frame = pl.scan_parquet(polars_name(path), glob=False, **polars_options(path))
    with _unreadable(path):
        frame.collect_schema()
    return frame


@contextmanager
def _unreadable(path: UPath) -> Iterator[None]:
    try:
        yield
    except (*UNREADABLE, pa.ArrowException, UnicodeDecodeError) as error:
        raise_if_passing(error, path)
        raise InputError(
            f"{path} cannot be read as parquet: {first_line(error)}; write it anew, or fetch it again"
        ) from error


@functools.cache
def _schema(path: UPath, version: str) -> pa.Schema:
    """Of the file as it was when `version` was taken."""
    with _unreadable(path), path.open("rb") as file:
        if not file.read(1):
            raise EmptyFileError(f"{path} cannot be read as parquet: it is empty; write it anew")
        return pq.read_schema(file)


def _odd(schema: pa.Schema) -> Iterator[str]:
    """Names of the columns that Polars cannot open: moments of a zone that has no name, such as +05:30, and views."""
    return (field.name for field in schema if any(map(_is_odd, _kinds(field.type))))


def _is_odd(kind: pa.DataType) -> bool:
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    return pa.types.is_timestamp(kind) and bool(kind.tz) and kind.tz not in _known_zones()


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _kinds(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type and those within it."""
    yield kind
    for place in range(kind.num_fields):
        yield from _kinds(kind.field(place).type)


@dataclass(frozen=True)
class _Plain:
    """Moments under another zone, which is how they are shown: what is stored is UTC; other odd columns lose values."""

    def __call__(self, path: UPath, folder: Path) -> None:
        with _unreadable(path), path.open("rb") as file:
            table = pq.ParquetFile(file)
            odd = set(_odd(table.schema_arrow))
            schema = pa.schema([_plain(field) if field.name in odd else field for field in table.schema_arrow])
            with pq.ParquetWriter(folder / "part.parquet", schema, compression="zstd") as writer:
                for batch in table.iter_batches():
                    columns = [_as(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
                    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _plain(field: pa.Field) -> pa.Field:
    kind = pa.timestamp(field.type.unit, "UTC") if pa.types.is_timestamp(field.type) else _NO_VALUES
    return pa.field(field.name, kind)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.nulls(len(column), kind) if kind == _NO_VALUES else column.cast(kind)
