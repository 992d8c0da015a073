"""Text tables as Parquet: a file is parsed once per process, strictly, into a copy that is then read lazily.

Memory holds one batch of rows, whatever the size of the file. The copies stand in a temporary folder, which is removed
when the process ends, or, where it was killed, by the next one.
"""

import atexit
import contextlib
import errno
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Hashable
from pathlib import Path
from typing import NoReturn, Protocol

import polars as pl
from upath import UPath

from pipeline.errors import InputError, PassingError
from pipeline.faults.find import raise_fault, raise_if_passing
from pipeline.storage.files import try_lock

_PREFIX = "microrec-copies-"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Conversion(Hashable, Protocol):
    """How a kind of file becomes Parquet; equal ones, by hash, give the same copy."""

    def __call__(self, path: UPath, folder: Path) -> None:
        """Write the rows of a file as `*.parquet`, in the order of their names, into an empty folder.

        Raises `InputError` that names the file and the line that cannot be read.
        """


def scan_copies(path: UPath, conversion: Conversion) -> list[pl.LazyFrame]:
    """The parts of a file's copy, in order.

    Raises `InputError` as the conversion does, `PassingError` where the temporary folder has no room.
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
    folder = None
    try:
        folder = _scratch() / uuid.uuid4().hex
        folder.mkdir()
        conversion(path, folder)
    except BaseException as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            _raise_unwritten(error, path)
        raise
    return folder


def _raise_unwritten(error: OSError, path: UPath) -> NoReturn:
    """Say where room is lacking, or what else is wrong with reading `path` or writing its copy."""
    if error.errno in _OF_THE_DISK:
        raise PassingError(
            f"{path} needs a copy in the temporary folder {tempfile.gettempdir()}, which cannot be written "
            f"({os.strerror(error.errno)}); make room there, or name another folder by TMPDIR"
        ) from error
    raise_fault(error, path)


@functools.cache
def _scratch() -> Path:
    """The folder of this process's copies, locked while the process lives; those of dead ones are removed."""
    _remove_dead(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try_lock(folder)
    return folder


def _remove_dead(above: Path) -> None:
    """Remove what killed processes of this user have left.

    The number tells dead processes of this machine; the lock tells those that share the folder from other containers,
    where numbers mean something else.
    """
    for folder in above.glob(f"{_PREFIX}*-*/"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid() or not number.isdecimal() or Path("/proc", number).exists():
                continue
            if (descriptor := try_lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
