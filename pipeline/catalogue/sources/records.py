"""Files with one record a line: streamed into Parquet, then read lazily.

A file is parsed once per process. Memory holds one batch of records, whatever the size of the file; the columns
that count go to a temporary folder, which is removed when the process ends.
"""

import ast
import atexit
import contextlib
import functools
import gzip
import itertools
import json
import re
import shutil
import tempfile
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.catalogue.sources.fields import Field, RecordError
from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing

_STRING = re.compile(r"'([^']*)'|\"[^\"]*\"")


@dataclass(frozen=True, eq=False)
class RecordKind:
    """How the lines of a file become the rows of a table."""

    parse: Callable[[str], Any]
    """One line to its value; raises `RecordError`."""
    fields: Mapping[str, Field]
    """Our column name to where its value comes from."""
    batch: int = 10_000
    """Records in memory at once."""
    line_limit: int = 1 << 24
    """Bytes; a longer line is no record but a file of another kind."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, field.type) for name, field in self.fields.items()])


def parse_json(line: str) -> Any:
    """One JSON value; raises `RecordError` for anything else."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not JSON ({error})") from error


def parse_literal(line: str) -> Any:
    """One Python literal. Constants and containers are built, nothing is ever run.

    Nearly all lines are JSON but for their quotes, and `json` is 3.5 times as fast as `ast`: without a backslash a
    string ends at its next quote, so quotes can be exchanged. What then is no JSON (`None`, tuples …) goes to `ast`.

    Raises `RecordError` for any other expression, and for one that is nested too deeply.
    """
    if "\\" not in line:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(_STRING.sub(_requoted, line))
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python means to refuse one day
            return ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RecordError("is not a Python dict of plain values (nothing in it was executed)") from error


def _requoted(string: re.Match[str]) -> str:
    body = string[1]
    return string[0] if body is None else '"' + body.replace('"', '\\"') + '"'


def scan_records(path: UPath, kind: RecordKind) -> pl.LazyFrame:
    """Open a file of records (gzip where its name ends in `.gz`) as a lazy table; blank lines are skipped.

    Raises `InputError` that names the file and the line that cannot be read.
    """
    try:
        version = path.fs.ukey(path.path)
    except OSError as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {error}") from error
    return pl.scan_parquet(_as_parquet(path, version, kind), glob=False)


@functools.cache
def _as_parquet(path: UPath, version: str, kind: RecordKind) -> Path:
    """The Parquet copy of a file; `version` differs when the file has changed."""
    copy = _scratch() / f"{uuid.uuid4().hex}.parquet"
    rows = _rows(path, kind)
    with pq.ParquetWriter(copy, kind.schema) as writer:
        while batch := list(itertools.islice(rows, kind.batch)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=kind.schema))
    return copy


@functools.cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="microrec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _rows(path: UPath, kind: RecordKind) -> Iterator[dict[str, Any]]:
    for number, line in _numbered_lines(path, kind.line_limit):
        try:
            text = line.decode("utf-8").strip()
            if text:
                yield _row(kind, kind.parse(text))
        except (RecordError, UnicodeDecodeError) as error:
            raise InputError(f"{path}, line {number}: {error}; correct the line or take it out") from error


def _row(kind: RecordKind, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise RecordError(f"is a {type(record).__name__}, not a record of names and values")
    return {name: field.read(record) for name, field in kind.fields.items()}


def _numbered_lines(path: UPath, limit: int) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as raw, gzip.open(raw) if path.name.endswith(".gz") else raw as file:
            while line := file.readline(limit):
                number += 1
                if len(line) == limit:
                    raise InputError(f"{path}, line {number}: longer than {limit:,} bytes; one record a line is read")
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise_if_passing(error, path)
        raise InputError(f"{path}, after line {number}: {error}; the file is damaged, fetch it again") from error
