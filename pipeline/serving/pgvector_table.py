"""A table in PostgreSQL that stays the table it is while its rows become others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.columns import EMBEDDING
from pipeline.serving.pgvector_rows import Rows


@dataclass(frozen=True)
class Merged:
    """What a merge has done."""

    written: int
    removed: int


@dataclass(frozen=True)
class Table:
    """One table, in the transaction of `cursor`; `at` is the schema's prefix."""

    cursor: Any
    at: str
    name: str

    @property
    def place(self) -> str:
        """As a statement names it."""
        return self.at + self.name

    def count(self) -> int:
        """Its rows."""
        self.cursor.execute(f"SELECT count(*) FROM {self.place}")
        return int(self.cursor.fetchone()[0])

    def ensure(self, types: Mapping[str, str], key: str | None) -> None:
        """Make the table; one whose columns are of other types is emptied and changed, for which readers wait.

        The database refuses that where a view stands on such a column.
        """
        there = self._types()
        if not there:
            columns = ", ".join(f"{_quoted(name)} {kind} {'NOT NULL' if key else ''}" for name, kind in types.items())
            unique = f", PRIMARY KEY ({_quoted(key)})" if key else ""
            self.cursor.execute(f"CREATE TABLE {self.place} ({columns}{unique})")
            return
        if key is None:
            return
        other = {name: kind for name, kind in types.items() if there.get(name) != kind}
        if other:
            self.cursor.execute(f"DELETE FROM {self.place}")
            changes = ", ".join(
                f"ALTER {_quoted(name)} TYPE {kind} USING {_quoted(name)}::text::{kind}" for name, kind in other.items()
            )
            self.cursor.execute(f"ALTER TABLE {self.place} {changes}")

    def add_columns(self, names: Iterable[str]) -> None:
        """Add columns of text where they are missing; columns that others have added stay."""
        there = self._types()
        for name in names:
            if name not in there:  # IF NOT EXISTS would wait for every reader to find out
                self.cursor.execute(f"ALTER TABLE {self.place} ADD COLUMN {_quoted(name)} text")

    def merge(self, rows: Rows) -> Merged:
        """Have the table hold these rows: what is equal is left alone, so that an index is not fed for nothing."""
        key, columns = _quoted(rows.key), ", ".join(map(_quoted, rows.columns))
        staged = f"staged_{self.name}"
        self.cursor.execute(
            f"CREATE TEMP TABLE {staged} ON COMMIT DROP AS SELECT {columns} FROM {self.place} WITH NO DATA"
        )
        for text in rows.as_text():
            self.cursor.copy_expert(f"COPY {staged} ({columns}) FROM STDIN", text)
        self.cursor.execute(f"ANALYZE {staged}")
        if rows.removed is None:
            gone = f"NOT EXISTS (SELECT FROM {staged} s WHERE s.{key} = t.{key})"
            self.cursor.execute(f"DELETE FROM {self.place} t WHERE {gone}")
        else:
            self.cursor.execute(f"DELETE FROM {self.place} WHERE {key} = ANY(%s::{rows.key_type}[])", [rows.removed])
        removed, own = self.cursor.rowcount, [_quoted(name) for name in rows.columns[1:]]
        changes = ", ".join(f"{name} = excluded.{name}" for name in own)
        before, after = (", ".join(f"{of}.{name}" for name in own) for of in ("t", "excluded"))
        self.cursor.execute(
            f"INSERT INTO {self.place} AS t ({columns}) SELECT {columns} FROM {staged} "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE ({before}) IS DISTINCT FROM ({after})"
        )
        return Merged(written=self.cursor.rowcount, removed=removed)

    def index(self) -> None:
        """Make the HNSW index for the inner product, unless there is one; readers do not wait."""
        self.cursor.execute(
            "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam "
            "WHERE i.indrelid = %s::regclass AND a.amname = 'hnsw'",
            [self.place],
        )
        if not self.cursor.fetchall():
            self.cursor.execute(f"CREATE INDEX ON {self.place} USING hnsw ({EMBEDDING} vector_ip_ops)")

    def _types(self) -> dict[str, str]:
        """PostgreSQL's type of each column; empty where there is no such table."""
        self.cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [self.place],
        )
        return {name: kind.rpartition(".")[2] for name, kind in self.cursor.fetchall()}  # without an extension's schema


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
