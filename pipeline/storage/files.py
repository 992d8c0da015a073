"""The store's layout and every read and write of it: local folders and `s3://` prefixes through one small layer.

Nothing is ever changed in place. A file or folder is written to local scratch under a name unique to the
attempt and then published: on a local disk by one rename, on an object store as `object_store` says. Two
attempts at the same thing may therefore run side by side; the first to publish wins, and readers see one
attempt's files, whole.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.addresses import require_no_credentials, without_secrets
from pipeline.errors import ConfigError, DamagedError, InputError
from pipeline.faults.find import find_fault
from pipeline.storage import object_store
from pipeline.storage.seal import SEAL, is_sound, sealed, spelled

SUCCESS = object_store.SUCCESS
LOCK = ".lock"
MEND = "restore it from a copy, or use a new run id"
"""Of most documents; for the others there is more to do."""


def is_local(path: UPath) -> bool:
    """Whether `path` is on this machine's file system."""
    return path.protocol in ("", "file", "local")


def local_path(path: UPath) -> Path:
    """The same path for the standard library; `path` must be local."""
    return Path(path.path)


def require_known_scheme(location: str, key: str) -> None:
    """Raise `ConfigError`, naming the setting `key`, for what is neither local nor in S3, or has credentials in it."""
    scheme, separator, _ = location.partition("://")
    if separator and scheme not in ("s3", "s3a", "file"):
        shown = without_secrets(location)
        raise ConfigError(f"{key}: {shown!r} begins with {scheme}://; name a local path, or s3://bucket/prefix")
    require_no_credentials(location, key)


def require_reachable(path: UPath, key: str) -> None:
    """Find out at once whether the store behind `path` answers.

    Raises, naming the setting `key`, `PassingError` for a store that does not answer now, and `InputError` for what is
    wrong: the bucket, the credentials, the address.
    """
    if path.protocol in ("s3", "s3a"):
        object_store.require_bucket(path, key)


def list_files(folder: UPath) -> list[str]:
    """Names of all files below `folder`, relative to it, sorted; attempts under way and locks are left out."""
    if is_local(folder):
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    else:
        below = folder.path + "/"  # some stores name a folder that was emptied as if it were a file
        found = [name.removeprefix(below) for name in folder.fs.find(folder.path) if name.startswith(below)]
    return sorted(name for name in found if not name.startswith((".", object_store.ATTEMPTS)))


def read_bytes(path: UPath) -> bytes:
    """The content of one file, on an object store by one request."""
    return local_path(path).read_bytes() if is_local(path) else object_store.read_object(path)


def read_start(path: UPath, limit: int) -> bytes:
    """The first bytes of one file, at most `limit`, on an object store by one request."""
    if not is_local(path):
        return object_store.read_object_start(path, limit)
    with local_path(path).open("rb") as file:
        return file.read(limit)


def is_absence(error: OSError) -> bool:
    """Whether a file could not be read for what it is (absent, a folder), not for a fault on the way to it."""
    return isinstance(error, FileNotFoundError) or find_fault(error) is None


def read_json(path: UPath, mend: str = MEND) -> Any:
    """Read one JSON document; a damaged one is a `DamagedError` that names it, and the mend."""
    return parse_json(path, read_bytes(path), mend)


def parse_json(path: UPath, payload: bytes, mend: str = MEND) -> Any:
    """The document in `payload`, which was read from `path`; its seal, where it has one, is held against the rest."""
    try:
        document = json.loads(payload)
        sound = is_sound(document)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not valid JSON ({error}): it is damaged; {mend}") from error
    if not sound:
        raise DamagedError(f"{path} is damaged: it does not fit its own seal; {mend}")
    return {key: value for key, value in document.items() if key != SEAL} if isinstance(document, dict) else document


def as_json(document: Any) -> bytes:
    """A JSON document as the store has it, with its seal."""
    return spelled(sealed(document)).encode()


def write_json(path: UPath, document: Any) -> None:
    """Write one JSON document so that a reader sees the old one or the new one, never a part."""
    publish_bytes(path, as_json(document))


def publish_bytes(path: UPath, payload: bytes) -> None:
    """Put `payload` at `path` in one step, replacing what was there."""
    if is_local(path):
        _replace(local_path(path), payload)
    else:
        path.fs.pipe_file(path.path, payload)  # an object store shows an object whole or not at all


def create_bytes(path: UPath, payload: bytes) -> bytes:
    """Put `payload` at `path` unless something is there; return what is there then."""
    if not is_local(path):
        return object_store.create_object(path, payload)
    target = local_path(path)
    with _lock(target.parent):
        if target.exists():
            return target.read_bytes()
        _replace(target, payload)
        return payload


def swap_bytes(path: UPath, before: bytes | None, after: bytes) -> bool:
    """Compare and swap: put `after` at `path` if `before` is there (None: nothing); whether `after` is there now."""
    if not is_local(path):
        return object_store.swap_object(path, before, after)
    target = local_path(path)
    with _lock(target.parent):
        found = target.read_bytes() if target.exists() else None
        if found == before:
            _replace(target, after)
        return found in (before, after)


def publish_file(local: Path, path: UPath) -> None:
    """Put a finished file of `scratch(path)` at `path` in one step; what another attempt has put there stays."""
    if not is_local(path):
        object_store.create_object_from(local, path)
        return
    _sync(local)
    with _lock(local_path(path).parent):
        remove_dead_scratch(local_path(path))
        if not path.exists():
            local.rename(local_path(path))


def is_complete(folder: UPath) -> bool:
    """Whether `folder` was published whole: its marker is there."""
    return bool((folder / SUCCESS).exists())


def publish_folder(local: Path, folder: UPath) -> bool:
    """Publish a finished folder of `scratch(folder)`, marker last; False if another attempt had published before.

    A local folder without its marker is the remains of a publication that died: it is replaced.
    """
    if is_complete(folder):
        return False
    if not is_local(folder):
        return object_store.publish_objects(local, folder)
    return _rename_into_place(local, local_path(folder))


def _rename_into_place(local: Path, folder: Path) -> bool:
    (local / SUCCESS).touch()
    for path in [*local.rglob("*"), local]:
        _sync(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        remove_dead_scratch(folder)
        if (folder / SUCCESS).exists():
            return False
        if folder.exists():
            shutil.rmtree(folder)
        local.rename(folder)
    _sync(folder.parent)
    return True


def _replace(target: Path, payload: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        beside.write_bytes(payload)
        _sync(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)  # where the disk was full
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Wait until a file's content or a folder's names are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(target: UPath) -> Iterator[Path]:
    """Yield an empty local folder in which to prepare `target`; it is removed unless it was published.

    For a local target it stands beside it, so that publishing is a rename on the same disk. There it is locked while
    its owner lives: who publishes the target removes what killed attempts have left.
    """
    if not is_local(target):
        folder, holder = Path(tempfile.mkdtemp(prefix="microrec-")), None
    else:
        parent = local_path(target).parent
        with _lock(parent):
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
            folder.chmod(0o755)
            holder = try_lock(folder)
    try:
        yield folder
    finally:
        if holder is not None:
            os.close(holder)
        _remove_scratch(folder)


def _remove_scratch(folder: Path) -> None:
    """Remove a folder of ours, also where this process can open but one more file: `rmtree` takes several."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()


def try_lock(folder: Path) -> int | None:
    """Lock the folder itself until the descriptor returned is closed; None where its owner has it or has removed it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def remove_dead_scratch(target: Path) -> None:
    """Remove scratch folders of `target` whose owners have died.

    Who publishes the target meanwhile holds the lock on its parent.
    """
    for folder in target.parent.glob(f".{target.name}.*/"):
        if (descriptor := try_lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """Yield a local file or folder with the content of `path`: itself where it is local, else a temporary download."""
    if is_local(path):
        yield local_path(path)
        return
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        target = Path(folder) / path.name
        try:
            path.fs.get_file(path.path, str(target))
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            for name in list_files(path):  # none of a path that is not there
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                path.fs.get_file((path / name).path, str(target / name))
        yield target


def resolve(location: str, base: Path) -> UPath:
    """Turn a location of the configuration into a path; a relative local one starts at `base`."""
    if "://" in location:
        return UPath(location, use_listings_cache=False)  # other processes write there, too
    if not location:
        raise InputError("an empty path was given; name a file or folder")
    return UPath(str((base / Path(location).expanduser()).resolve()))


def file_sha256(path: UPath | Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
