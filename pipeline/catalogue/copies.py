"""Text tables as Parquet: a file is parsed once per process, strictly, into a copy that is then read lazily.

Memory holds one batch of rows, whatever the size of the file. The copies stand in a temporary folder, which is removed
when the process ends.
"""

import atexit
import functools
import shutil
import tempfile
import uuid
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

import polars as pl
from upath import UPath

from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing


class Conversion(Hashable, Protocol):
    """How a kind of file becomes Parquet; equal ones, by hash, give the same copy."""

    def __call__(self, path: UPath, folder: Path) -> None:
        """Write the rows of a file as `*.parquet`, in the order of their names, into an empty folder.

        Raises `InputError` that names the file and the line that cannot be read.
        """


def scan_copies(path: UPath, conversion: Conversion) -> list[pl.LazyFrame]:
    """The parts of a file's copy, in order.

    Raises `InputError` as the conversion does.
    """
    folder = _copied(path, file_token(path), conversion)
    return [pl.scan_parquet(part, glob=False) for part in sorted(folder.iterdir())]


def file_token(path: UPath) -> str:
    """What is another when the file has changed.

    Raises `InputError` for a file that cannot be asked about.
    """
    try:
        return str(path.fs.ukey(path.path))
    except OSError as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {error}") from error


@functools.cache
def _copied(path: UPath, version: str, conversion: Conversion) -> Path:
    """The folder of a file's copy; `version` differs when the file has changed."""
    folder = _scratch() / uuid.uuid4().hex
    folder.mkdir()
    try:
        conversion(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


@functools.cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="microrec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
