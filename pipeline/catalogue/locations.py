"""Which files a location of the configuration stands for. The one place where a folder becomes a list of files.

A folder's own files count, and those of its Hive partitions (`day=1/`); of a glob, the files that it matches, and those
of the folders that it matches, as Spark writes them (`day1.parquet/part-0.parquet`). Names that begin
with `_` or `.` are left out wherever they stand below the location: they hold what a writer has not committed yet.
A table of Delta, Iceberg or Hudi is not a list of files: its log says which of them count.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from upath import UPath

from pipeline.catalogue.table_logs import is_partition, require_plain
from pipeline.errors import InputError, InputMissingError
from pipeline.storage.files import is_local, local_path, require_reachable, resolve

JSON_ENDINGS = (".json", ".json.gz")
"""Lines of JSON under the name that Spark and BigQuery give them; beside other tables it is a description of those."""
MAGIC = "*?["
HIDDEN = ("_", ".")
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
    if not path.is_dir() and path.exists():
        return [_regular_file(path)]
    named, _ = of_one_kind(_visible_files(path), endings)
    require_plain(named, location_root(path))
    if not named:
        raise InputMissingError(
            f"{path} holds no file with one of the endings {', '.join(endings)} (names that begin with _ or . do not "
            "count); for files in folders below, write a glob such as data/**/*.parquet"
        )
    return sorted(named, key=str)


def descriptions(path: UPath, endings: Sequence[str]) -> list[UPath]:
    """The `.json` files of a folder or glob that are left out as descriptions of the tables beside them."""
    return of_one_kind(_visible_files(path), endings)[1] if is_glob(path) or path.is_dir() else []


def partition_values(file: UPath, location: UPath) -> dict[str, str | None]:
    """The values in the names of the folders between a location and a file found there, as Hive writes them.

    Of a glob, the folders count from the first that it does not spell out.
    """
    above, parts = _parts(location_root(location).path), _parts(file.path)
    if parts[: len(above)] != above:
        return {}
    pairs = (folder.partition("=") for folder in parts[len(above) : -1] if is_partition(folder))
    return {name: None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}


def location_root(location: UPath) -> UPath:
    """The folder or file that a location names; of a glob, the folder that it spells out."""
    root = location
    while is_glob(root):
        root = root.parent
    return root


def is_glob(path: UPath) -> bool:
    """Whether a location is a pattern."""
    return any(sign in path.path for sign in MAGIC)


def children(folder: UPath) -> list[UPath]:
    """What stands in a folder, sorted."""
    if is_local(folder):
        return [folder / name.name for name in sorted(local_path(folder).iterdir())]
    names = (name.rstrip("/").rsplit("/", 1)[-1] for name in folder.fs.ls(folder.path, detail=False))
    own = folder.path.rstrip("/").rsplit("/", 1)[-1]
    return [folder / name for name in sorted(names) if name and name != own]


def of_one_kind(files: Sequence[UPath], endings: Sequence[str]) -> tuple[list[UPath], list[UPath]]:
    """The files with one of the endings, and the `.json` left out of them: beside other tables it describes those."""
    named = [file for file in files if file.name.lower().endswith(tuple(endings))]
    others = [file for file in named if not file.name.lower().endswith(JSON_ENDINGS)]
    return (others, [file for file in named if file not in others]) if others else (named, [])


def _regular_file(path: UPath) -> UPath:
    if is_local(path) and not local_path(path).is_file():
        raise InputError(f"{path} is not a regular file; name a file, folder or glob")
    require_plain([path], path.parent)
    return path


def _visible_files(path: UPath) -> list[UPath]:
    if path.is_dir():
        return list(_in_folder(path))
    if is_glob(path):
        return list(dict.fromkeys(_matches(path)))
    raise InputMissingError(f"{path} does not exist; catalogue paths are relative to the configuration file's folder")


def _in_folder(folder: UPath) -> Iterator[UPath]:
    """The visible files of a folder and of the partitions below it."""
    for path in children(folder):
        if path.name.startswith(HIDDEN):
            continue
        if is_partition(path.name) and path.is_dir():
            yield from _in_folder(path)
        elif not is_local(path) or local_path(path).is_file():
            yield path


def _matches(path: UPath) -> Iterator[UPath]:
    """What a glob matches, without what lies in or under a hidden name that the pattern does not spell out."""
    start = len(_parts(location_root(path).path))
    spelled = {part for part in _parts(path.path) if part.startswith(HIDDEN)}
    for name, about in path.fs.glob(path.path, detail=True).items():
        if any(part.startswith(HIDDEN) and part not in spelled for part in _parts(name)[start:]):
            continue
        file = UPath(name) if is_local(path) else resolve(f"{path.protocol}://{name}", Path())
        if local_path(file).is_dir() if is_local(file) else about["type"] == "directory":
            yield from _in_folder(file)
        elif not is_local(file) or local_path(file).is_file():
            yield file


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
