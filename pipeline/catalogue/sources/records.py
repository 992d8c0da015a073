"""Files with one record a line, of which some fields become the columns of a table."""

import ast
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.catalogue.copies import scan_copies
from pipeline.catalogue.json_values import RecordError, RepeatedNameError, parse_json
from pipeline.catalogue.sources.fields import Field
from pipeline.catalogue.text_files import LINE_LIMIT, numbered_lines
from pipeline.errors import InputError

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
    line_limit: int = LINE_LIMIT
    """Bytes; a longer line is not a record but a file of another kind."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, field.type) for name, field in self.fields.items()])

    def __call__(self, path: UPath, folder: Path) -> None:
        """Write the columns of a file's records as Parquet."""
        rows = _rows(path, self)
        with pq.ParquetWriter(folder / "part.parquet", self.schema) as writer:
            while batch := list(itertools.islice(rows, self.batch)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=self.schema))


def parse_literal(line: str) -> Any:
    """One Python literal, or JSON where the line is JSON. Constants and containers are built; no code is run.

    Nearly all lines are JSON but for their quotes, and `json` is 3.5 times as fast as `ast`: without a backslash a
    string ends at its next quote, so quotes can be exchanged. What then is no JSON (`None`, tuples …) goes to `ast`.

    Raises `RecordError` for any other expression, for a record with a name twice, and for one that is nested too
    deeply.
    """
    for spelled in [line] if "\\" in line else [line, _STRING.sub(_requoted, line)]:
        try:
            return parse_json(spelled)
        except RepeatedNameError:
            raise
        except RecordError:
            continue
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python means to refuse one day
            tree = ast.parse(line.lstrip(" \t"), mode="eval")
            _require_distinct_names(tree)
            return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RecordError("is not a Python dict of plain values (nothing in it was executed)") from error


def _require_distinct_names(tree: ast.AST) -> None:
    for record in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        names = [key.value for key in record.keys if isinstance(key, ast.Constant)]
        if len(set(names)) < len(names):
            raise RepeatedNameError(f"has the name {next(name for name in names if names.count(name) > 1)!r} twice")


def _requoted(string: re.Match[str]) -> str:
    body = string[1]
    return string[0] if body is None else '"' + body.replace('"', '\\"') + '"'


def scan_records(path: UPath, kind: RecordKind) -> pl.LazyFrame:
    """Open a file of records (gzip where its name ends in `.gz`) as a lazy table; blank lines are skipped.

    Raises `InputError` that names the file and the line that cannot be read.
    """
    return scan_copies(path, kind)[0]


def _rows(path: UPath, kind: RecordKind) -> Iterator[dict[str, Any]]:
    for number, line in numbered_lines(path, kind.line_limit):
        try:
            yield _row(kind, kind.parse(line))
        except RecordError as error:
            raise InputError(f"{path}, line {number}: {error}; correct the line or take it out") from error


def _row(kind: RecordKind, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise RecordError(f"is a {type(record).__name__}, not a record of names and values")
    return {name: field.read(record) for name, field in kind.fields.items()}
