"""What tells two writes of a file apart without reading it."""

from dataclasses import dataclass

from upath import UPath

from pipeline.storage.files import is_local, local_path


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    """A file as the last write has left it."""

    size: int
    """Bytes."""
    version: str
    """Modification time in nanoseconds; in an object store the ETag."""


def file_version(path: UPath) -> FileVersion:
    """Ask the disk or the store, whose listings may be old, about the file itself.

    Raises `FileNotFoundError` where there is none.
    """
    if is_local(path):
        found = local_path(path).stat()
        return FileVersion(size=found.st_size, version=str(found.st_mtime_ns))
    info = path.fs.info(path.path)
    if "ETag" not in info:
        raise FileNotFoundError(f"{path} is a folder")
    return FileVersion(size=info["size"], version=info["ETag"].strip('"'))
