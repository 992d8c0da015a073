"""Tables of Delta, Iceberg and Hudi. They are not lists of files: their logs say which of their files count."""

import functools
import re
from collections.abc import Sequence

from upath import UPath

from pipeline.errors import InputError
from pipeline.storage.files import is_local

_ICEBERG = re.compile(r"version-hint\.text|(v[0-9]+|[0-9]{5}-.+)\.metadata\.json")


def is_partition(folder: str) -> bool:
    """Whether the name of a folder is one that Hive gives, such as `day=1`."""
    name, equals, _ = folder.partition("=")
    return bool(name and equals)


def require_plain(files: Sequence[UPath], root: UPath) -> None:
    """Raise `InputError` where one of the files belongs to a table that has a log.

    Asked are the folders from `root` to the files. Above it only what `root` is certainly a part of: a partition's
    table, and that of a folder `data`.
    """
    while is_partition(root.name):
        root = root.parent
    folders = {root: None, root.parent: None} if root.name == "data" else {root: None}
    for file in files:
        below = file.parent
        while below != root and root in below.parents:
            folders[below] = None
            below = below.parent
    for folder in (folder for folder in folders if not is_partition(folder.name)):
        kind = _table_kind(folder) if is_local(folder) else _remembered_kind(folder)
        if kind:
            raise InputError(
                f"{folder} is a table of {kind}: its log says which of its files count, others were replaced or "
                "removed; export its present rows as plain Parquet files into a folder of their own and name that"
            )


def _table_kind(folder: UPath) -> str | None:
    """None also where it may not be asked: who may read a file may not always list its folder."""
    try:
        for kind, marker in (("Delta", "_delta_log"), ("Hudi", ".hoodie")):
            if (folder / marker).is_dir():
                return kind
        if not ((folder / "metadata").is_dir() and (folder / "data").is_dir()):
            return None
        return "Iceberg" if any(_ICEBERG.fullmatch(file.name) for file in (folder / "metadata").iterdir()) else None
    except PermissionError:
        return None


@functools.cache
def _remembered_kind(folder: UPath) -> str | None:
    """The same in an object store, which is asked once."""
    return _table_kind(folder)
