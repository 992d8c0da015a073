"""The rows of a release as PostgreSQL takes them, whole or what a delta names."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts
from pipeline.columns import EMBEDDING, ITEM_ID, SOURCE, USER_ID
from pipeline.release.delta import CHANGE, ID, REMOVED, SIDES, read_delta
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS
from pipeline.release.increment import Published, merged
from pipeline.release.sound import sound_table
from pipeline.storage.arrow import vectors_of

TABLES = {"item_vectors": "items", "user_vectors": "users"}
"""Table in the database: side of the release."""
ROWS_AT_ONCE = 10_000
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NULL = r"\N"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is to stand in one table."""

    source: str
    """Table of the release."""
    key: str
    table: pa.Table
    """Id, embedding, and what the table has besides."""
    texts: Sequence[str]
    """Columns of text."""
    removed: list[Any] | None = None
    """Ids that go; None: all that are not in `table`."""
    text_values: dict[str, list[str | None]] = field(default_factory=dict)
    """By column of text, in the order of the rows."""

    @property
    def key_type(self) -> str:
        """PostgreSQL's type of the ids."""
        return "bigint" if pa.types.is_integer(self.table.schema.field(self.key).type) else "text"

    @property
    def types(self) -> dict[str, str]:
        """PostgreSQL's types of id and vector."""
        dim = self.table.schema.field(EMBEDDING).type.list_size
        return {self.key: self.key_type, EMBEDDING: f"vector({dim})"}

    @property
    def columns(self) -> list[str]:
        """All columns, in the order of `as_text`."""
        return [self.key, EMBEDDING, *self.texts]

    def as_text(self) -> Iterator[io.StringIO]:
        """The rows in PostgreSQL's text format, a block at a time."""
        for start in range(0, self.table.num_rows, ROWS_AT_ONCE):
            block = self.table.slice(start, ROWS_AT_ONCE)
            ids = [_spelled(str(value)) for value in block.column(self.key).to_pylist()]
            vectors = (f"[{','.join(map(repr, row))}]" for row in vectors_of(block, EMBEDDING).tolist())
            texts = [map(_spelled, self.text_values[name][start : start + ROWS_AT_ONCE]) for name in self.texts]
            yield io.StringIO("".join("\t".join(row) + "\n" for row in zip(ids, vectors, *texts, strict=True)))


def rows_of_release(
    release: UPath, name: str, increment: Published | None, catalogue: Catalogue | None, columns: Sequence[str]
) -> Rows:
    """All rows of a table, those of the increment among them."""
    source, key = SIDES[TABLES[name]]
    table = sound_table(release, source)
    table = merged(table, increment) if source == ITEM_EMBEDDINGS else table
    return _rows(source, key, table, None, catalogue, columns)


def rows_of_delta(
    release: UPath,
    name: str,
    before: Published | None,
    now: Published | None,
    catalogue: Catalogue | None,
    columns: Sequence[str],
) -> Rows:
    """Rows that the release's delta has as added or moved, and ids that it has as removed.

    Args:
        before: the increment whose rows stand in the table; the release has those items itself, or they are gone.
        now: the one beside the release.
    """
    side = TABLES[name]
    source, key = SIDES[side]
    delta = read_delta(release, side)
    gone = pc.equal(delta.column(CHANGE), REMOVED)
    there = delta.filter(pc.invert(gone)).column(ID).combine_chunks()
    table, removed = sound_table(release, source, pc.field(key).isin(there)), delta.filter(gone).column(ID).to_pylist()
    if source == ITEM_EMBEDDINGS:
        table = merged(table, now)
        removed += _gone(before, table)
    return _rows(source, key, table, removed, catalogue, columns)


def rows_of_step(
    name: str,
    before: Published | None,
    now: Published | None,
    catalogue: Catalogue | None,
    columns: Sequence[str],
) -> Rows | None:
    """From one increment of a release to another, either of which may be none; None for users, who stay."""
    source, key = SIDES[TABLES[name]]
    there = now or before
    if source != ITEM_EMBEDDINGS or there is None:
        return None
    table = now.table if now else there.table.slice(0, 0)
    return _rows(source, key, table, _gone(before, table), catalogue, columns)


def _gone(before: Published | None, table: pa.Table) -> list[Any]:
    """Ids of an increment that are not among the rows that come."""
    if before is None:
        return []
    ids = before.table.column(ITEM_ID)
    kept = pc.is_in(ids, value_set=table.column(ITEM_ID).combine_chunks())
    return list(ids.filter(pc.invert(kept)).to_pylist())


def _rows(
    source: str,
    key: str,
    table: pa.Table,
    removed: list[Any] | None,
    catalogue: Catalogue | None,
    columns: Sequence[str],
) -> Rows:
    if source == USER_VECTORS:
        return Rows(source=source, key=USER_ID, table=table, texts=(), removed=removed)
    values: dict[str, list[str | None]] = {SOURCE: table.column(SOURCE).to_pylist()}
    if catalogue and columns:
        values |= _catalogue_texts(catalogue, table.column(ITEM_ID), columns)
    return Rows(source=ITEM_EMBEDDINGS, key=key, table=table, texts=list(values), removed=removed, text_values=values)


def _catalogue_texts(catalogue: Catalogue, ids: pa.ChunkedArray, columns: Sequence[str]) -> dict[str, list[str | None]]:
    """Columns of the catalogue as it is now, as text; an item that has left it has none."""
    catalogue.require_columns(tuple(columns), "pgvector.columns")
    wanted = pl.DataFrame({ITEM_ID: pl.Series(ids)})
    items = catalogue.collect_items(catalogue.scan_items().select(ITEM_ID, *columns)).unique(ITEM_ID, keep="first")
    texts = pl.DataFrame({ITEM_ID: items[ITEM_ID], **{name: join_texts(items, [name]) for name in columns}})
    joined = wanted.join(texts, on=ITEM_ID, how="left", maintain_order="left")
    # PostgreSQL knows no text with a NUL in it.
    return {name: [text.replace("\0", "") if text else None for text in joined[name]] for name in columns}


def _spelled(value: str | None) -> str:
    return value.translate(_ESCAPES) if value is not None else _NULL
