"""What tells two writes of a file apart without reading it."""

import os
import stat
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from upath import UPath

from pipeline.storage import object_store
from pipeline.storage.files import is_absence, is_local, local_path

AT_ONCE = 16
"""Files asked about at the same time."""
SETTLES_NS = 2_000_000_000
"""A write within this time before the reading, or after it, may have the same time as a later one. The coarsest file
systems have a resolution of two seconds."""


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    """A file as the last write has left it."""

    size: int
    """Bytes."""
    version: str
    """Modification time in nanoseconds; in an object store the ETag."""


@dataclass(frozen=True, kw_only=True)
class Reading(FileVersion):
    """The version of what was read, and how far it can be trusted."""

    read_at: int
    """When the reading began, nanoseconds since 1970 by this machine's clock."""
    settled: bool
    """Whether every later write has another version."""


def file_version(path: UPath) -> FileVersion:
    """Ask the disk or the store, whose listings may be old, about the file itself.

    Raises `FileNotFoundError` where there is none.
    """
    if is_local(path):
        return _version_of(local_path(path).stat())
    info = path.fs.info(path.path)
    if "ETag" not in info:
        raise FileNotFoundError(f"{path} is a folder")
    return FileVersion(size=info["size"], version=info["ETag"].strip('"'))


def _version_of(found: os.stat_result) -> FileVersion:
    return FileVersion(size=found.st_size, version=str(found.st_mtime_ns))


def file_versions(paths: Sequence[UPath]) -> list[FileVersion | None]:
    """The version of each file that is there and may be read; None for what is absent or no regular file.

    An object store is asked for its listing, which costs one request for a thousand objects. A listing that is longer
    than a request for each file would be is given up, and each file is asked about.
    """
    listed: dict[str, FileVersion | None] = {}
    stores = defaultdict(list)
    for path in paths:
        if not is_local(path):
            stores[path.path.partition("/")[0]].append(path)
    for objects in stores.values():
        listed |= object_store.list_versions(objects, FileVersion)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda path: listed[path.path] if path.path in listed else _present(path), paths))


def _present(path: UPath) -> FileVersion | None:
    try:
        if not is_local(path):
            return file_version(path)
        found = local_path(path).stat()
        readable = stat.S_ISREG(found.st_mode) and os.access(local_path(path), os.R_OK)
        return _version_of(found) if readable else None
    except OSError as error:
        if not is_absence(error):
            raise
        return None


def read_version(path: UPath, limit: int) -> tuple[bytes, Reading]:
    """The first bytes of a file, at most `limit`, in one reading, and the version that they are of."""
    now = time.time_ns()
    if not is_local(path):
        payload, size, tag = object_store.read_tagged(path, limit)
        return payload, Reading(size=size, version=tag, read_at=now, settled=True)
    with local_path(path).open("rb") as file:
        version = _version_of(os.fstat(file.fileno()))
        payload = file.read(limit)
        after = _version_of(os.fstat(file.fileno()))
    settled = version == after and int(version.version) + SETTLES_NS < now
    return payload, Reading(size=version.size, version=version.version, read_at=now, settled=settled)
