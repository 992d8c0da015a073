"""The files in a folder of the store, with size and age, and how a folder is removed."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from pipeline.storage.files import SUCCESS, is_local, local_path, remove_dead_scratch


@dataclass(frozen=True)
class Stored:
    """One file as the disk or the store lists it."""

    size: int
    """Bytes."""
    modified: datetime
    """In UTC."""
    version: str
    """What another write of the same name changes."""


def list_stored(folder: UPath) -> dict[str, Stored]:
    """Every file below a folder by its relative name, attempts and locks too; on an object store one listing."""
    if not is_local(folder):
        folder.fs.invalidate_cache()
        return {
            name.removeprefix(folder.path + "/"): Stored(one["size"], one["LastModified"].astimezone(UTC), one["ETag"])
            for name, one in folder.fs.find(folder.path, detail=True).items()
            if one["type"] == "file"
        }
    listed = {}
    for place, _, names in os.walk(local_path(folder)):
        for name in names:
            path = Path(place, name)
            with suppress(FileNotFoundError):  # a night beside us publishes and cleans up
                stat = path.stat()
                relative = path.relative_to(local_path(folder)).as_posix()
                modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                listed[relative] = Stored(stat.st_size, modified, str(stat.st_mtime_ns))
    return listed


def remove_folder(folder: UPath) -> None:
    """Remove a folder with all in it, and what killed attempts at it have left.

    Its marker goes first, so that nobody takes the rest for a whole.
    """
    remove_file(folder / SUCCESS)
    if is_local(folder):
        remove_dead_scratch(local_path(folder))
        shutil.rmtree(local_path(folder), ignore_errors=True)
        return
    names = [(folder / name).path for name in list_stored(folder)]
    if names:
        folder.fs.rm(names)


def remove_file(path: UPath) -> None:
    """Remove one file, if it is there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if is_local(path):
            local_path(path).unlink()
        else:
            path.fs.rm_file(path.path)
