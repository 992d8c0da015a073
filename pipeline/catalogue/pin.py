"""The tables that a run stands on: which files, as they were when it began, and whether they still are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import polars as pl
from upath import UPath

from pipeline.catalogue.catalogue import NAMED, Catalogue
from pipeline.errors import InputError, InputMissingError, InputMovedError
from pipeline.storage.files import file_sha256
from pipeline.storage.version import FileVersion, file_version

AT_ONCE = 8
"""Files asked about at the same time."""
_MISREAD = (InputError, OSError, pl.exceptions.PolarsError)
"""What reading raises if the file is replaced meanwhile (and in other cases)."""


@dataclass(frozen=True, kw_only=True)
class PinnedFile(FileVersion):
    """One file of the tables."""

    sha256: str


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The files of items and interactions at one moment."""

    files: dict[str, PinnedFile] = field(default_factory=dict)
    """By location, relative to the configuration's folder."""

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each file, by its location."""
        return {name: file.sha256 for name, file in self.files.items()}


def take_pin(catalogue: Catalogue) -> Pin:
    """Read every file once.

    Raises:
        InputMissingError: there is none.
        InputMovedError: one was removed meanwhile.
    """
    files = catalogue.input_files()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Pin(files=dict(zip(files, pool.map(_pinned, files, files.values()), strict=True)))


def _pinned(name: str, file: UPath) -> PinnedFile:
    try:
        version = file_version(file)  # first: a later write then has another one
        return PinnedFile(size=version.size, version=version.version, sha256=file_sha256(file))
    except FileNotFoundError as error:
        raise InputMovedError(f"{name} is gone") from error


def confirm(catalogue: Catalogue, pin: Pin) -> Pin:
    """The same files with their versions of now. Only files with another version are read: the digest decides.

    Raises `InputMovedError` that names what is gone, new or changed.
    """
    try:
        files = catalogue.input_files()
    except InputMissingError as error:
        raise InputMovedError(str(error)) from error
    both = [name for name in pin.files if name in files]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(both, pool.map(lambda name: _present(files[name], pin.files[name]), both), strict=True))
    now = Pin(files={name: file for name, file in found.items() if file})
    moved = _moved(pin, now, new=[name for name in files if name not in pin.files])
    if moved:
        raise InputMovedError(moved)
    return now


def _moved(pin: Pin, now: Pin, *, new: list[str]) -> str:
    """What happened to the files, in words; empty if all are there and the same, and none is new."""
    gone = [name for name in pin.files if name not in now.files]
    changed = [name for name, file in now.files.items() if file.sha256 != pin.files[name].sha256]
    kinds = (("gone", gone), ("changed", changed), ("new", new))
    return "; ".join(f"{what}: {_some(names)}" for what, names in kinds if names)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _present(file: UPath, pinned: PinnedFile) -> PinnedFile | None:
    """The file as it is now, None where it is gone; it is read only where its version is not the pinned one."""
    try:
        now = file_version(file)
        same = (now.size, now.version) == (pinned.size, pinned.version)
        sha256 = pinned.sha256 if same else file_sha256(file)
    except FileNotFoundError:
        return None
    return PinnedFile(size=now.size, version=now.version, sha256=sha256)


@contextmanager
def unmoved(catalogue: Catalogue, pin: Pin) -> Iterator[None]:
    """Let the tables be read, which must be the pinned ones before and after.

    Raises `InputMovedError` where they are not, also in the place of what a half-written file gave.
    """
    pin = confirm(catalogue, pin)
    try:
        yield
    except _MISREAD:
        confirm(catalogue, pin)
        raise
    confirm(catalogue, pin)
