"""MLflow's SQLite database in a store that was moved or copied: where it says that its artifacts lie.

MLflow writes absolute locations. In a store that was moved they name a folder that is gone, or worse: of a copy, the
artifacts of the original. Before the database is used, they are set to the folder where the artifacts lie now.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

WAIT = 30.0
"""Seconds for another program that is writing to the database."""


class _Column(NamedTuple):
    """Where a table of MLflow keeps locations, and which of its rows are still written to."""

    table: str
    name: str
    written: str


COLUMNS = (
    _Column("experiments", "artifact_location", "1"),
    _Column("runs", "artifact_uri", "status NOT IN ('FINISHED', 'FAILED', 'KILLED')"),
    _Column("logged_models", "artifact_location", "0"),
    _Column("model_versions", "storage_location", "0"),
    _Column("model_versions", "source", "0"),
)


@dataclass(frozen=True)
class Location:
    """A location below a folder of artifacts: that folder, and the rest as MLflow spells it."""

    folder: Path
    rest: str

    @property
    def path(self) -> Path:
        """Where that is on the disk."""
        return self.folder / url2pathname(self.rest)


def relocate(database: Path, artifacts: Path) -> int:
    """Have a database say that what lies in `artifacts` lies there; the number of locations that were changed.

    A location elsewhere is changed where there is the same in `artifacts`, or where its own folder is gone. What is
    still to be written to is also changed where `artifacts` lies beside the database, and where its folder belongs to
    the store that this one was copied from. All changes are one transaction; a database that fits is not written to.
    """
    if not database.exists():
        return 0
    # The next reader that may write takes back what a killed process has half written.
    mode = "rw" if database.with_name(f"{database.name}-journal").exists() else "ro"
    with closing(sqlite3.connect(f"{database.as_uri()}?mode={mode}", uri=True, timeout=WAIT)) as reader:
        if not _changes(reader, database, artifacts):
            return 0
    with closing(sqlite3.connect(database, timeout=WAIT, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        changes = _changes(writer, database, artifacts)  # as it is now that nobody else writes
        for column, before, after in changes:
            writer.execute(f"UPDATE {column.table} SET {column.name} = ? WHERE {column.name} = ?", (after, before))
        writer.execute("COMMIT")
    return len(changes)


def locate(uri: str, name: str) -> Location | None:
    """Read a location below a local folder called `name`; None for any other.

    MLflow appends an id, or two, to the folder: so it is the last one of that name.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        return None
    path = parts.path if parts.scheme else quote(uri)
    before, found, rest = f"{path}/".rpartition(f"/{name}/")
    return Location(Path(url2pathname(before), name), rest.strip("/")) if found else None


def _changes(connection: sqlite3.Connection, database: Path, artifacts: Path) -> list[tuple[_Column, str, str]]:
    """Column, location and new location of all that does not fit."""
    own = artifacts.as_uri()
    found = []
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for column in (column for column in COLUMNS if column.table in tables):
        rows = connection.execute(
            f"SELECT {column.name}, max({column.written}) FROM {column.table} "
            f"WHERE {column.name} NOT LIKE 'models:/%' GROUP BY {column.name}"
        )
        for uri, written in rows:
            location = locate(uri, artifacts.name)
            if location is None or f"{uri}/".startswith(f"{own}/"):
                continue
            if _belongs(location, database, artifacts, written=bool(written)):
                found.append((column, uri, f"{own}/{location.rest}".rstrip("/")))
    return found


def _belongs(location: Location, database: Path, artifacts: Path, *, written: bool) -> bool:
    """Whether what the database has at `location` is to be in `artifacts`."""
    own = database.parent == artifacts.parent
    # The folder itself is made with the first artifact: another store that shares the database may have none yet.
    if not _is_there(location.folder if own else location.folder.parent):
        return True
    if not written:
        return _is_there(Location(artifacts, location.rest).path)
    return (own and _is_there(artifacts)) or _is_copy(location.folder, database, artifacts)


def _is_copy(folder: Path, database: Path, artifacts: Path) -> bool:
    """Whether another database lies to `folder` as this one to `artifacts`: this store is a copy of that one."""
    other = Path(os.path.normpath(folder / os.path.relpath(database, artifacts)))  # though `folder` may not be there
    return _is_there(other) and not other.samefile(database)


def _is_there(path: Path) -> bool:
    """Whether something is there that this user can see."""
    try:
        return path.exists()
    except PermissionError:
        return False
