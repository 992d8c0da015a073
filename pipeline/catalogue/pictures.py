"""The files of pictures: found under the image root and nowhere else, read up to a size, and checked."""

import errno
import functools
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from upath import UPath

from features.pictures import UnreadableError, require_readable
from pipeline.storage.files import is_absence, is_local, local_path, read_start, resolve
from pipeline.storage.version import Reading, read_version

READERS = 16
LARGEST = 1 << 28
"""Bytes of the largest file that is read: 256 MB."""
Found = TypeVar("Found")
_OTHER_STORE = re.compile(r"(?!s3://[^/])((?i:data):|[A-Za-z][A-Za-z0-9+.-]+:/)")


class OutsideError(FileNotFoundError):
    """A picture that does not lie under the image root."""


@dataclass(frozen=True, kw_only=True)
class PictureRead:
    """What is to be remembered of a picture that was read."""

    location: str
    """Absolute."""
    version: Reading
    sha256: str
    problem: str | None = None
    """Why it cannot be decoded."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a catalogue."""

    root: UPath
    """The folder that `image_path` is relative to."""
    outside: bool = False
    """Whether what lies outside it is read too (`catalogue.images_outside_root`)."""

    def path(self, location: str) -> UPath:
        """Where a picture is: `location` under the image root, or itself where it is absolute or begins with `s3://`.

        Raises `FileNotFoundError` for what no store holds, so that it counts as a picture that is not there, and
        `OutsideError`.
        """
        if "\0" in location or _OTHER_STORE.match(location):
            raise FileNotFoundError(errno.ENOENT, "neither a file nor s3://; fetch the picture first", location)
        path = resolve(location, Path()) if "://" in location else self.root / location
        if not self.outside and not self._holds(path):
            raise OutsideError(errno.ENOENT, "outside catalogue.image_root", location)
        return path

    def _holds(self, path: UPath) -> bool:
        if is_local(path) != is_local(self.root):
            return False
        if is_local(path):
            return _real(path).is_relative_to(_real(self.root))
        inner = path.path.removeprefix(self.root.path.rstrip("/") + "/")
        return inner != path.path and ".." not in inner.split("/")

    def read(self, location: str) -> bytes:
        """The file's bytes; a name in another Unicode form is found.

        Raises `OSError`: nothing is there, it is no regular file, too large, outside, or the store fails.
        """
        return self._tried(location, lambda path: _require_small(path, read_start(_regular(path), LARGEST + 1)))

    def read_version(self, location: str) -> tuple[PictureRead, bytes]:
        """The same with the place and the version that the bytes are of."""

        def read(path: UPath) -> tuple[PictureRead, bytes]:
            payload, version = read_version(_regular(path), LARGEST + 1)
            digest = hashlib.sha256(_require_small(path, payload)).hexdigest()
            return PictureRead(location=str(path), version=version, sha256=digest), payload

        return self._tried(location, read)

    def _tried(self, location: str, read: Callable[[UPath], Found]) -> Found:
        try:
            return read(self.path(location))
        except OutsideError:
            raise
        except FileNotFoundError:
            for name in other_forms(location):
                try:
                    return read(self.path(name))
                except FileNotFoundError:
                    continue
            raise


def _real(path: UPath) -> Path:
    return Path(os.path.realpath(local_path(path)))


def other_forms(location: str) -> Iterator[str]:
    """The name as other systems spell its accents."""
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, location)
        if name != location:
            yield name


def _regular(path: UPath) -> UPath:
    if is_local(path) and not stat.S_ISREG(local_path(path).stat().st_mode):
        raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
    return path


def _require_small(path: UPath, payload: bytes) -> bytes:
    if len(payload) > LARGEST:
        raise OSError(errno.EFBIG, f"its bytes are more than {LARGEST:,}", str(path))
    return payload


class Problem(Enum):
    """What is wrong with a picture."""

    NOT_FOUND = "not found"
    UNREADABLE = "unreadable"
    OUTSIDE = "outside image_root"


@dataclass(frozen=True)
class Checked:
    """The result for one picture; all None if none is named."""

    path: str | None = None
    digest: str | None = None
    """sha256 of a picture that can be used."""
    problem: Problem | None = None
    told: str = ""
    read: PictureRead | None = None
    """Of one that is there, whether it can be decoded or not."""
    payload: bytes | None = None
    """Its bytes, where they are kept."""


def check_pictures(pictures: Pictures, locations: Sequence[str | None], *, keep: bool = False) -> list[Checked]:
    """Read and decode every picture, in threads.

    Args: keep: the bytes, too.
    """
    nearest = functools.cache(_names_by_look)
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(partial(_check, pictures, nearest), locations)
        return [one if keep else replace(one, payload=None) for one in found]


def _names_by_look(folder: Path) -> dict[str, str]:
    """The names in a folder, by their form without capitals and accents."""
    try:
        return {_look(path.name): path.name for path in folder.iterdir()}
    except OSError:
        return {}


def _look(name: str) -> str:
    return unicodedata.normalize("NFKD", name).casefold()


def _near_miss(pictures: Pictures, nearest: Callable[[Path], dict[str, str]], location: str) -> str:
    """What to add if a local file has a similar name."""
    path = pictures.path(location)
    if not is_local(path):
        return ""
    near = nearest(local_path(path).parent).get(_look(path.name))
    return f"; there is {near!r}" if near and near != path.name else ""


def _check(pictures: Pictures, nearest: Callable[[Path], dict[str, str]], location: str | None) -> Checked:
    if not location:
        return Checked()
    try:
        read, payload = pictures.read_version(location)
    except OSError as error:
        if not is_absence(error):
            raise
        told = error.strerror or str(error)
        if isinstance(error, OutsideError):
            return Checked(location, problem=Problem.OUTSIDE, told=told)
        near = _near_miss(pictures, nearest, location) if error.filename != location else ""
        return Checked(location, problem=Problem.NOT_FOUND, told=told + near)
    try:
        require_readable(payload)
    except UnreadableError as error:
        read = replace(read, problem=str(error))
        return Checked(location, None, Problem.UNREADABLE, str(error), read, payload)
    return Checked(location, read.sha256, read=read, payload=payload)
