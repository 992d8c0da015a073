"""Text files: unpacked, line by line, and damage reported as damage."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, cast

from upath import UPath

from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing

LINE_LIMIT = 1 << 24
"""Bytes; a longer line is not a record but a file of another kind."""
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class EmptyFileError(InputError):
    """A file that holds nothing at all, as a writer leaves it whose part had no rows."""


@contextmanager
def open_text(path: UPath) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked where its name ends in `.gz`.

    Raises `InputError`, while it is being read, for gzip that is cut off or altered, or named wrongly.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        raw = cast("io.RawIOBase", path.open("rb"))
    except OSError as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        with raw, gzip.open(raw) if packed else io.BufferedReader(raw) as file:  # a store's has no limit to a line
            yield cast("BinaryIO", file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged or not a gzip file ({error}); fetch it again") from error


@contextmanager
def decoded(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """A file's text, UTF-8, with or without a mark in front; line ends as they are."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield text
    finally:
        text.detach()


def numbered_lines(path: UPath, limit: int = LINE_LIMIT) -> Iterator[tuple[int, str]]:
    """Every line with its number from 1, without white space around it; blank lines are left out.

    Raises `InputError` that names the line, also as `open_text` does.
    """
    with open_text(path) as file:
        for number, line in enumerate(iter(partial(file.readline, limit), b""), start=1):
            if len(line) == limit:
                raise InputError(f"{path}, line {number}: longer than {limit:,} bytes; one record a line is read")
            if number == 1:
                _require_text(path, line)
                line = line.removeprefix(_BOM)
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                raise _no_utf8(path, number, line, error, file.tell() - len(line)) from error
            if text:
                yield number, text


def _require_text(path: UPath, start: bytes) -> None:
    if start.startswith(_GZIP):
        raise InputError(f"{path} is packed by gzip; give it a name that ends in .gz")


def require_utf8(path: UPath) -> None:
    """Raise `InputError` that names the line and byte where a text file stops being UTF-8."""
    with open_text(path) as file:
        start = 0
        for number, line in enumerate(file, start=1):
            if number == 1:
                _require_text(path, line)
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise _no_utf8(path, number, line, error, start) from error
            start += len(line)


def _no_utf8(path: UPath, number: int, line: bytes, error: UnicodeDecodeError, start: int) -> InputError:
    return InputError(
        f"{path}, line {number}, byte {start + error.start:,}: {line[error.start : error.end]!r} is not UTF-8; write "
        "the file anew in UTF-8"
    )
