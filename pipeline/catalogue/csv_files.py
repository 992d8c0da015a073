"""Text files of columns, read strictly: every row has the header's columns, and quotes are where the format has them.

Arrow parses; it is fast and refuses rows of another width, but takes quotes as they come. Where there are any, Python's
`csv` goes over the file as well: its strict mode refuses what is quoted half-way.
"""

import csv
import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
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
_OTHER_SEPARATORS = ";\t|"
_REPEATED = pa.struct([("several columns of this name", pa.string())])
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
        InputError: it is not such a file; names the line.
    """
    return scan_copies(path, _CsvCopy(separators))[0]


@dataclass(frozen=True)
class _CsvCopy:
    separators: str

    def __call__(self, path: UPath, folder: Path) -> None:
        with _long_values():
            header = _header(path, self.separators)
            target, width = folder / "part.parquet", len(header.names)
            if header.alone:
                pq.write_table(header.schema.empty_table(), target)
                return
            try:
                quoted = _write(path, target, header)
            except pa.ArrowInvalid as error:
                require_utf8(path)
                _require_strict(path, header.separator, width)
                raise InputError(f"{path} cannot be read as csv: {error}; write it anew") from error
            if quoted:
                _require_strict(path, header.separator, width)


@contextmanager
def _long_values() -> Iterator[None]:
    """Let `csv` read what Arrow reads; its limit, 128 KiB, is the process's."""
    before = csv.field_size_limit(_BLOCK_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass(frozen=True)
class _Header:
    separator: str
    names: list[str]
    lines: int
    """A name may hold a line break."""
    alone: bool
    """Whether no row follows."""

    @property
    def schema(self) -> pa.Schema:
        """Columns without a name, such as an index, get one; a name that stands twice is one column without values."""
        kinds: dict[str, pa.DataType] = {}
        for name in self.keys:
            kinds[name] = pa.string() if self.keys.count(name) == 1 else _REPEATED
        return pa.schema(kinds.items())

    @property
    def keys(self) -> list[str]:
        """The columns' names, every one of them some text."""
        return [name or self._invented(place) for place, name in enumerate(self.names, start=1)]

    def _invented(self, place: int) -> str:
        invented = f"column {place}"
        while invented in self.names:
            invented += "'"
        return invented


def _header(path: UPath, separators: str) -> _Header:
    """The first row that is not blank.

    Raises:
        EmptyFileError: there is none.
        InputError: it seems to have another separator.
    """
    try:
        with open_text(path) as file, decoded(file) as lines:
            first = next((line for line in lines if line.strip()), None)
        if first is None:
            raise EmptyFileError(f"{path} cannot be read as csv: it is empty; write it anew")
        separator = next((one for one in separators if one in first), separators[-1])
        with open_text(path) as file, closing(_rows(path, file, separator)) as rows:
            line, names = next(rows)
            alone = next(rows, None) is None
    except UnicodeDecodeError:
        require_utf8(path)
        raise
    if len(names) == 1 and (other := next((one for one in _OTHER_SEPARATORS if one in names[0]), None)):
        raise InputError(
            f"{path}, line {line}: the header is one column, {names[0]!r}, as if {other!r} were the separator; write "
            f"the file anew with {separator!r} between columns"
        )
    return _Header(separator, names, line, alone)


def _write(path: UPath, target: Path, header: _Header) -> bool:
    """Copy the rows; whether there is a quote among them."""
    schema, places = header.schema, [str(place) for place in range(len(header.names))]
    with open_text(path) as file, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        watched = _Watched(file)
        batches = pc.open_csv(
            pa.PythonFile(watched, "r"),
            read_options=pc.ReadOptions(block_size=_BLOCK_BYTES, skip_rows=header.lines, column_names=places),
            parse_options=pc.ParseOptions(delimiter=header.separator, newlines_in_values=True),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        for batch in batches:
            columns = dict(zip(header.keys, batch.columns, strict=True))
            arrays = [
                columns[field.name] if field.type == pa.string() else pa.nulls(len(batch), field.type)
                for field in schema
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return watched.quoted


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


def _rows(path: UPath, file: BinaryIO, separator: str) -> Generator[tuple[int, list[str]], None, None]:
    """The rows that are not blank, each with the number of its last line."""
    with decoded(file) as text:
        reader = csv.reader(text, strict=True, delimiter=separator)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: a quote is not closed, or stands where none may be ({error}); "
                f"{_DOUBLED}"
            ) from error
