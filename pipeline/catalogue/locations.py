"""Which files a location of the configuration stands for. The one place where a folder becomes a list of files.

A folder's own files count, and those of its Hive partitions (`day=1/`); of a glob, what it matches. Names that begin
with `_` or `.` are left out wherever they stand below the location: they hold what a writer has not committed yet.
A table of Delta, Iceberg or Hudi is no list of files: its log says which of them count.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from upath import UPath

from pipeline.errors import InputError, InputMissingError
from pipeline.storage.files import is_local, local_path, require_reachable, resolve

JSON_ENDINGS = (".json", ".json.gz")
"""Lines of JSON under the name that Spark and BigQuery give them; beside other tables it is a description of those."""
_MAGIC = "*?["
_HIDDEN = ("_", ".")
_OTHER_DATA = re.compile(r"^part-[^.]*$|\.(tsv|txt|orc|avro|feather|arrow|xlsx?|gz|zip|bz2|zst|xz|lz4|snappy)$")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def find_files(path: UPath, endings: Sequence[str]) -> list[UPath]:
    """The files that a location stands for, sorted: a file itself, a folder's, or those a glob matches.

    Args:
        path: the location.
        endings: what the names of files in a folder or under a glob end in, in small letters.

    Raises:
        InputMissingError: there is none.
        InputError: a table that has a log of its own, or what is neither file nor folder.
    """
    require_reachable(path, "catalogue")
    if path.is_dir():
        found = list(_in_folder(path))
    elif path.exists():
        return [_regular_file(path)]
    elif any(character in path.path for character in _MAGIC):
        found = _matches(path)
    else:
        raise InputMissingError(
            f"{path} does not exist; catalogue paths are relative to the configuration file's folder"
        )
    named = _of_one_kind([file for file in found if file.name.lower().endswith(tuple(endings))])
    _require_plain(named, path)
    if not named:
        raise InputMissingError(
            f"{path} holds no file with one of the endings {', '.join(endings)} (names that begin with _ or . do not "
            "count); for files in folders below, write a glob such as data/**/*.parquet"
        )
    return sorted(named, key=str)


def overlooked(path: UPath, endings: Sequence[str]) -> list[UPath]:
    """What lies visibly in a folder, seems to hold data too, and is not read: by its ending, or a folder below."""
    if not path.is_dir():
        return []
    visible = [child for child in _children(path) if not child.name.startswith(_HIDDEN)]
    return [child for child in visible if not _is_partition(child.name) and _seems_data(child, tuple(endings))]


def _seems_data(path: UPath, endings: tuple[str, ...]) -> bool:
    if path.is_dir():
        return any(child.name.lower().endswith(endings) for child in _children(path))
    return bool(_OTHER_DATA.search(path.name.lower())) and not path.name.lower().endswith(endings)


def partition_values(file: UPath) -> dict[str, str | None]:
    """The values that stand in the names of the folders above a file, as Hive writes them (`split=train/`)."""
    pairs = (folder.partition("=") for folder in PurePosixPath(file.path).parts[:-1] if _is_partition(folder))
    return {name: None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}


def _is_partition(folder: str) -> bool:
    name, equals, _ = folder.partition("=")
    return bool(name and equals)


def _regular_file(path: UPath) -> UPath:
    if is_local(path) and not local_path(path).is_file():
        raise InputError(f"{path} is no regular file; name a file, folder or glob")
    _require_plain([path], path)
    return path


def _in_folder(folder: UPath) -> Iterator[UPath]:
    """The visible files of a folder and of the partitions below it."""
    for path in _children(folder):
        if path.name.startswith(_HIDDEN):
            continue
        if _is_partition(path.name) and path.is_dir():
            yield from _in_folder(path)
        elif not is_local(path) or local_path(path).is_file():
            yield path


def _children(folder: UPath) -> list[UPath]:
    if is_local(folder):
        return [folder / name.name for name in sorted(local_path(folder).iterdir())]
    names = (name.rstrip("/").rsplit("/", 1)[-1] for name in folder.fs.ls(folder.path, detail=False))
    own = folder.path.rstrip("/").rsplit("/", 1)[-1]
    return [folder / name for name in sorted(names) if name and name != own]


def _matches(path: UPath) -> list[UPath]:
    """What a glob matches, without what lies in or under a hidden name that the pattern does not spell out."""
    start = next(place for place, part in enumerate(_parts(path.path)) if any(sign in part for sign in _MAGIC))
    spelled = {part for part in _parts(path.path) if part.startswith(_HIDDEN)}
    found = []
    for name in path.fs.glob(path.path):
        hidden = [part for part in _parts(name)[start:] if part.startswith(_HIDDEN) and part not in spelled]
        file = resolve(name if is_local(path) else f"{path.protocol}://{name}", Path())
        if not hidden and (not is_local(file) or local_path(file).is_file()):
            found.append(file)
    return found


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _of_one_kind(files: list[UPath]) -> list[UPath]:
    """Leave `.json` out beside other tables, where it describes them."""
    others = [file for file in files if not file.name.lower().endswith(JSON_ENDINGS)]
    return others or files


def _require_plain(files: Sequence[UPath], location: UPath) -> None:
    """Raise `InputError` where one of the files belongs to a table that has a log."""
    folders = {parent: None for file in files for parent in file.parents if not _is_partition(parent.name)}
    if not any(sign in location.path for sign in _MAGIC):
        folders[location] = None
    for folder in folders:
        kind = _table_kind(folder) if is_local(folder) else _remembered_kind(folder)
        if kind:
            raise InputError(
                f"{folder} is a table of {kind}: its log says which of its files count, others were replaced or "
                "removed; export its present rows as plain Parquet files into a folder of their own and name that"
            )


def _table_kind(folder: UPath) -> str | None:
    for kind, marker in (("Delta", "_delta_log"), ("Hudi", ".hoodie")):
        if (folder / marker).is_dir():
            return kind
    metadata = folder / "metadata"
    hints = (metadata / "version-hint.text").exists() or any(metadata.glob("*.metadata.json"))
    return "Iceberg" if hints else None


@functools.cache
def _remembered_kind(folder: UPath) -> str | None:
    """The same in an object store, which is asked once."""
    return _table_kind(folder)
