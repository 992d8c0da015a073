"""What a release changes: `delta/{items,users}`, for consumers that keep the champion's vectors and load what is new.

An id that both know has `moved` where its row differs in anything at all, vectors or other columns, by one bit or
more: the champion's rows without those of the delta, with the release's rows of the delta, are the release exactly.
Shapes: R rows, D dimension.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from pipeline.columns import EMBEDDING, ITEM_ID, USER_ID
from pipeline.errors import StoreError
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS, read_table, write_table
from pipeline.storage.arrow import vectors_of

DELTA = "delta"
ID, CHANGE, COSINE = "id", "change", "cosine"
ADDED, REMOVED, MOVED = "added", "removed", "moved"
SIDES = {"items": (ITEM_EMBEDDINGS, ITEM_ID), "users": (USER_VECTORS, USER_ID)}
"""Name of a delta, and the table of the release that it is of, with its id."""


def make_delta(then: pa.Table, now: pa.Table, key: str) -> pa.Table:
    """Ids whose rows differ, sorted: id, change, and the cosine of both vectors, null for an id that only one has.

    Raises `ValueError` for ids of different types.
    """
    if then.schema.field(key).type != now.schema.field(key).type:
        raise ValueError(f"{key} is {now.schema.field(key).type} now, {then.schema.field(key).type} then")
    row_R = pc.index_in(now.column(key), value_set=_ids(then, key)).combine_chunks()
    known = pc.is_valid(row_R)
    before, after = then.take(row_R.drop_null()), now.filter(known)
    moved_R = _differs(before, after)
    removed = pc.invert(pc.is_in(then.column(key), value_set=_ids(now, key)))
    parts = [
        (after.column(key).filter(pa.array(moved_R)), MOVED, cosines(before, after)[moved_R]),
        (now.column(key).filter(pc.invert(known)), ADDED, None),
        (then.column(key).filter(removed), REMOVED, None),
    ]
    return pa.concat_tables([_part(*part) for part in parts]).sort_by(ID)


def changed_rows(delta: pa.Table, now: pa.Table, key: str) -> pa.Table:
    """The release's rows that a consumer with the champion's rows needs, besides the delta."""
    return now.filter(pc.is_in(now.column(key), value_set=_ids(delta, ID)))


def apply_delta(then: pa.Table, delta: pa.Table, changed: pa.Table, key: str) -> pa.Table:
    """The release's table from the champion's, the delta, and the release's `changed_rows`."""
    kept = then.filter(pc.invert(pc.is_in(then.column(key), value_set=_ids(delta, ID))))
    kept = kept.cast(changed.schema) if len(kept) else changed.slice(0, 0)
    return pa.concat_tables([kept, changed]).sort_by(key).combine_chunks()


def cosines(then: pa.Table, now: pa.Table) -> np.ndarray:
    """Cosine of the embeddings of two tables' rows, float32 (R,); 0 where one of them is 0."""
    then_RD, now_RD = (vectors_of(table, EMBEDDING).astype(np.float64) for table in (then, now))
    product_R = np.linalg.norm(then_RD, axis=1) * np.linalg.norm(now_RD, axis=1)
    cosine_R = np.einsum("rd,rd->r", then_RD, now_RD) / np.where(product_R > 0, product_R, 1.0)
    clipped_R: np.ndarray = cosine_R.clip(-1, 1).astype(np.float32)
    return clipped_R


def write_deltas(deltas: dict[str, pa.Table], folder: Path, digest: str) -> None:
    """Write `delta/<side>/part-*.parquet` into a release folder."""
    (folder / DELTA).mkdir()
    for side, delta in deltas.items():
        write_table(delta, folder / DELTA / side, digest, sorted_by=(ID,))


def read_delta(release: UPath, side: str) -> pa.Table:
    """The delta of `items` or `users`; raises `StoreError` for a first release, which has none."""
    return read_table(release, f"{DELTA}/{side}")


def count_changes(delta: pa.Table) -> dict[str, int]:
    """Ids by what became of them."""
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(delta.column(CHANGE)).to_pylist()}
    return {change: int(counted.get(change, 0)) for change in (ADDED, REMOVED, MOVED)}


def delta_problems(release: UPath, tables: dict[str, pa.Table]) -> list[str]:
    """Where a release's delta does not fit its tables; nothing of the champion's is read."""
    problems = []
    for side, (table, key) in SIDES.items():
        try:
            delta = read_delta(release, side)
        except StoreError as error:
            problems.append(str(error))
            continue
        if delta.column_names != [ID, CHANGE, COSINE]:
            problems.append(f"{DELTA}/{side} has the columns {delta.column_names}, expected {[ID, CHANGE, COSINE]}")
            continue
        there = pc.is_in(delta.column(ID), value_set=_ids(tables[table], key))
        expected = pc.not_equal(delta.column(CHANGE), REMOVED)
        if not there.equals(expected):
            problems.append(f"{DELTA}/{side} and {table} do not agree on which ids are there")
        if len(pc.unique(delta.column(ID))) != len(delta):
            problems.append(f"{DELTA}/{side}.{ID} is not unique")
    return problems


def _ids(table: pa.Table, column: str) -> pa.Array:
    return table.column(column).combine_chunks()


def _differs(then: pa.Table, now: pa.Table) -> np.ndarray:
    """Which rows differ in any column, bool (R,): all where the columns do."""
    if then.schema.names != now.schema.names or then.schema.types != now.schema.types:
        return np.ones(len(now), dtype=bool)
    differs_R = np.zeros(len(now), dtype=bool)
    for name, kind in zip(now.schema.names, now.schema.types, strict=True):
        if pa.types.is_fixed_size_list(kind):
            differs_R |= (vectors_of(then, name) != vectors_of(now, name)).any(axis=1)
        else:
            differs_R |= pc.not_equal(then.column(name), now.column(name)).to_numpy()
    return differs_R


def _part(ids: pa.ChunkedArray, change: str, cosine_R: np.ndarray | None) -> pa.Table:
    values: Any = pa.nulls(len(ids), pa.float32()) if cosine_R is None else pa.array(cosine_R, pa.float32())
    schema = pa.schema(
        [pa.field(ID, ids.type, False), pa.field(CHANGE, pa.string(), False), pa.field(COSINE, pa.float32())]
    )
    return pa.Table.from_arrays([ids, pa.array([change] * len(ids), pa.string()), values], schema=schema)
