"""The store's layout and every write to it: local folders and `s3://` prefixes through one small layer.

Nothing is ever changed in place. A file or folder is written to local scratch under a name unique to the
attempt and then published: on a local disk by one rename, on an object store by uploading with the marker
last. Two attempts at the same thing may therefore run side by side; the first to publish wins.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from upath import UPath

from pipeline.errors import InputError, StoreError

SUCCESS = "_SUCCESS"


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Where features, runs and releases live."""

    root: str = "microrec-store"
    """Local folder (relative to the configuration file) or `s3://bucket/prefix`."""


@dataclass(frozen=True)
class Store:
    """Paths of the store (docs/formats.md)."""

    root: UPath

    @property
    def runs(self) -> UPath:
        return self.root / "runs"

    @property
    def releases(self) -> UPath:
        return self.root / "releases"

    @property
    def champion(self) -> UPath:
        return self.root / "champion.json"

    def run(self, run_id: str) -> UPath:
        return self.runs / run_id

    def release(self, run_id: str) -> UPath:
        return self.releases / run_id

    def features(self, modality: str, encoder_key: str) -> UPath:
        return self.root / "features" / modality / encoder_key


def is_local(path: UPath) -> bool:
    """Whether `path` is on this machine's file system."""
    return path.protocol in ("", "file", "local")


def local_path(path: UPath) -> Path:
    """The same path for the standard library; `path` must be local."""
    return Path(path.path)


def arrow_filesystem(path: UPath) -> tuple[pafs.FileSystem, str]:
    """Return the Arrow file system that reads `path`, and the path as that file system spells it."""
    if is_local(path):
        return pafs.LocalFileSystem(), str(path)
    return pafs.PyFileSystem(pafs.FSSpecHandler(path.fs)), path.path


def read_json(path: UPath) -> Any:
    """Read one JSON document; a damaged one is a `StoreError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON ({error}); delete it and run the stage again") from error


def write_json(path: UPath, document: Any) -> None:
    """Write one JSON document so that a reader sees the old one or the new one, never a part."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n"
    publish_bytes(path, text.encode())


def publish_bytes(path: UPath, payload: bytes) -> None:
    """Put `payload` at `path` in one step, replacing what was there."""
    if not is_local(path):
        path.write_bytes(payload)  # an object store shows an object whole or not at all
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with beside.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    local_path(beside).replace(local_path(path))


def publish_file(local: Path, path: UPath) -> None:
    """Move a finished local file to `path` in one step, replacing what was there."""
    if not is_local(path):
        path.fs.put_file(str(local), path.path)
        local.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = local_path(path.with_name(f".{path.name}.{uuid.uuid4().hex}"))
    shutil.move(local, beside)
    beside.replace(local_path(path))


def is_complete(folder: UPath) -> bool:
    """Whether `folder` was published whole: its marker is there."""
    return bool((folder / SUCCESS).exists())


def publish_folder(local: Path, folder: UPath) -> bool:
    """Publish a finished scratch folder, marker last; False if another attempt had published before.

    A folder without its marker is the remains of a publication that died: it is replaced.
    """
    if is_complete(folder):
        return False
    (local / SUCCESS).touch()
    if is_local(folder):
        return _rename_into_place(local, local_path(folder))
    files = sorted(file for file in local.rglob("*") if file.is_file() and file.name != SUCCESS)
    for file in [*files, local / SUCCESS]:
        folder.fs.put_file(str(file), (folder / file.relative_to(local).as_posix()).path)
    return True


def _rename_into_place(local: Path, folder: Path) -> bool:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not (folder / SUCCESS).exists():
        shutil.rmtree(folder)
    try:
        local.rename(folder)
    except OSError as error:
        if (folder / SUCCESS).exists():
            return False
        raise StoreError(f"cannot publish {folder}: {error}") from error
    return True


@contextmanager
def scratch(target: UPath) -> Iterator[Path]:
    """Yield an empty local folder in which to prepare `target`; it is removed unless it was published.

    For a local target it stands beside it, so that publishing is a rename on the same disk.
    """
    if is_local(target):
        parent = local_path(target).parent
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
        folder.chmod(0o755)
    else:
        folder = Path(tempfile.mkdtemp(prefix="microrec-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """Yield a local file with the content of `path`: itself where it is local, else a temporary download."""
    if is_local(path):
        yield local_path(path)
        return
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        target = Path(folder) / path.name
        path.fs.get_file(path.path, str(target))
        yield target


def resolve(location: str, base: Path) -> UPath:
    """Turn a location of the configuration into a path; a relative local one starts at `base`."""
    if "://" in location:
        return UPath(location)
    if not location:
        raise InputError("an empty path was given; name a file or folder")
    return UPath(str((base / Path(location).expanduser()).resolve()))
