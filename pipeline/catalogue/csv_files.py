"""Text files of columns, read strictly: every row has the header's columns, and quotes are where the format has them.

Arrow parses; it is fast and refuses rows of another width, but takes quotes as they come. Where there are any, Python's
`csv` goes over the file as well: its strict mode refuses what is quoted half-way.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from upath import UPath

from pipeline.catalogue.copies import scan_copies
from pipeline.catalogue.text_files import EmptyFileError, decoded, open_text, require_utf8
from pipeline.errors import InputError

_BLOCK_BYTES = 1 << 24
_ESCAPED = '\\"'
_DOUBLED = (
    "write the file anew: values with a quote in them are quoted, and the quote is doubled (Spark: "
    '.option("escape", "\\""))'
)


def scan_csv(path: UPath, separators: str = ",") -> pl.LazyFrame:
    """Open a text file of columns, all of them text; what is empty is null.

    Args:
        path: the file, packed by gzip where its name ends in `.gz`.
        separators: characters between columns; the first that the header has counts.

    Raises:
        EmptyFileError: a file without a header.
        InputError: what is no such file, with the line.
    """
    return scan_copies(path, _CsvCopy(separators))[0]


@dataclass(frozen=True)
class _CsvCopy:
    separators: str

    def __call__(self, path: UPath, folder: Path) -> None:
        separator, names = _header(path, self.separators)
        repeated = {name for name in names if name and names.count(name) > 1}
        if repeated:
            raise InputError(f"{path}, line 1: several columns are called {min(repeated)!r}; give each its own name")
        try:
            quoted = _write(path, folder / "part.parquet", names, separator)
        except pa.ArrowInvalid as error:
            require_utf8(path)
            _require_strict(path, separator, len(names))
            raise InputError(f"{path} cannot be read as csv: {error}; write it anew") from error
        if quoted:
            _require_strict(path, separator, len(names))


def _header(path: UPath, separators: str) -> tuple[str, list[str]]:
    """The separator, and the names of the columns."""
    try:
        with open_text(path) as file, decoded(file) as lines:
            first = next((line for line in lines if line.strip()), None)
    except UnicodeDecodeError:
        require_utf8(path)
        raise
    if first is None:
        raise EmptyFileError(f"{path} cannot be read as csv: it is empty; write it anew")
    separator = next((one for one in separators if one in first), separators[-1])
    return separator, next(csv.reader([first], delimiter=separator))


def _write(path: UPath, target: Path, names: list[str], separator: str) -> bool:
    """Copy the rows; whether there is a quote among them."""
    schema = pa.schema([(name, pa.string()) for name in _distinct(names)])
    with open_text(path) as file, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        watched = _Watched(file)
        batches = pc.open_csv(
            pa.PythonFile(watched, "r"),
            read_options=pc.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pc.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    return watched.quoted


def _distinct(names: list[str]) -> list[str]:
    """Columns without a name, such as an index, get one: Arrow needs it."""
    return [name or f"column {place}" for place, name in enumerate(names, start=1)]


class _Watched(io.RawIOBase):
    """A file that remembers whether a quote was read from it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self.quoted = file, False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.quoted = self.quoted or b'"' in content
        return content


def _require_strict(path: UPath, separator: str, width: int) -> None:
    """Raise `InputError` for a row of another width, or whose quotes stand where none can be or end nobody knows where.

    A backslash before a quote that ends its value, as Spark writes it, makes rows run into one another where quotes are
    doubled: the value then holds what seems to be the end of a value, and a line break.
    """
    swallowed = re.compile(rf'\\"(\r?\n|{re.escape(separator)}[^\n]*\n)')
    with open_text(path) as file:
        for line, row in _rows(path, file, separator):
            if len(row) != width:
                raise InputError(
                    f"{path}, line {line}: {len(row)} columns, the header has {width}; correct the line (a value that "
                    f"holds {separator!r} or a line break must be quoted)"
                )
            if any(_ESCAPED in cell and swallowed.search(cell) for cell in row):
                raise InputError(
                    f"{path}, line {line}: a value of several lines has a backslash before a quote; escaped so, as "
                    f"Spark does, the quote ends elsewhere than where quotes are doubled; {_DOUBLED}"
                )


def _rows(path: UPath, file: BinaryIO, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its last line."""
    with decoded(file) as text:
        reader = csv.reader(text, strict=True, delimiter=separator)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: a quote is not closed, or stands where none can be ({error}); "
                f"{_DOUBLED}"
            ) from error
