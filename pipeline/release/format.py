"""The release format: its tables and its digest (docs/reference/formats.md)."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import (
    CONTENT_EMBEDDING,
    EMBEDDING,
    ITEM_ID,
    MODALITY,
    NEIGHBOUR_ID,
    RANK,
    SIMILARITY,
    SOURCE,
    USER_ID,
)
from pipeline.errors import DamagedError
from pipeline.storage.arrow import arrow_filesystem
from pipeline.storage.files import list_files

SCHEMA_VERSION = 2
REPORT, INDEX = "report.html", "index.faiss"
ITEM_EMBEDDINGS, USER_VECTORS, ITEM_GRAPH, SEEN = "item_embeddings", "user_vectors", "item_graph", "seen"
TABLES_OF = {
    1: (ITEM_EMBEDDINGS, USER_VECTORS, ITEM_GRAPH),
    2: (ITEM_EMBEDDINGS, USER_VECTORS, ITEM_GRAPH, SEEN),
}
"""Tables of a release, which its digest covers, by schema version. Releases of all these versions are read."""
TABLES = TABLES_OF[SCHEMA_VERSION]
FOOTER_DIGEST = b"microrec.release_digest"
FOOTER_SCHEMA = b"microrec.schema_version"
SORTED_BY = {
    ITEM_EMBEDDINGS: (ITEM_ID,),
    USER_VECTORS: (USER_ID,),
    ITEM_GRAPH: (ITEM_ID, MODALITY, RANK),
    SEEN: (USER_ID, ITEM_ID),
}
"""Order of the rows, by table."""
ROWS_PER_GROUP = 50_000
BYTES_PER_PART = 500_000_000
"""Before compression: a part stays under 512 MB."""
_HASHED_AT_ONCE = 1_000_000


def expected_columns(table: str) -> tuple[str, ...]:
    """Columns every release has in a table; items also have one `weight_<modality>` per modality."""
    return {
        ITEM_EMBEDDINGS: (ITEM_ID, EMBEDDING, CONTENT_EMBEDDING, SOURCE),
        USER_VECTORS: (USER_ID, EMBEDDING),
        ITEM_GRAPH: (ITEM_ID, NEIGHBOUR_ID, MODALITY, RANK, SIMILARITY),
        SEEN: (USER_ID, ITEM_ID),
    }[table]


def non_null_table(columns: dict[str, Any]) -> pa.Table:
    """A table that promises no nulls, as those of a release do; text ids become plain strings."""
    arrays, fields = [], []
    for name, array in columns.items():
        if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
            array = array.cast(pa.string())
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=False))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def table_digest(table: pa.Table) -> str:
    """sha256 over column names, types and values, independent of chunks, compression and metadata."""
    digest = hashlib.sha256()
    for name in table.column_names:
        array = table.column(name).combine_chunks()
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        if pa.types.is_fixed_size_list(array.type):
            digest.update(f"{name}\tvector of {array.type.list_size}\n".encode())
            array = array.flatten()
        digest.update(f"{name}\t{array.type}\t{len(array)}\n".encode())
        plain = pa.table({"values": array})
        with pa.ipc.new_stream(pa.PythonFile(_HashingSink(digest), mode="w"), plain.schema) as writer:
            writer.write_table(plain, max_chunksize=_HASHED_AT_ONCE)
    return digest.hexdigest()


class _HashingSink:
    """A writable file that keeps nothing but the digest of what was written."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to close."""


def release_digest(tables: dict[str, pa.Table], schema_version: int = SCHEMA_VERSION) -> str:
    """One digest for the content of all tables: the same vectors and graph give the same digest, whatever the run."""
    document = {
        "schema_version": schema_version,
        "tables": {name: table_digest(table) for name, table in tables.items()},
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write_table(
    table: pa.Table, folder: Path, digest: str, rows_per_part: int | None = None, sorted_by: Sequence[str] = ()
) -> None:
    """Write `part-*.parquet` files whose footers carry the release digest; an empty table is one part without rows.

    Floats have no dictionary, and their bytes are stored by place, which zstd makes more of. The footers declare the
    order of `sorted_by`, if it is the rows'. Parts come to about 500 MB before compression, unless `rows_per_part`
    says otherwise.
    """
    folder.mkdir()
    footer = {FOOTER_DIGEST: digest.encode(), FOOTER_SCHEMA: str(SCHEMA_VERSION).encode()}
    table = table.replace_schema_metadata(footer)
    floats = _float_paths(table.schema)
    order = [(name, "ascending") for name in sorted_by] if is_sorted(table, sorted_by) else []
    options = {
        "compression": "zstd",
        "row_group_size": ROWS_PER_GROUP,
        "use_byte_stream_split": floats or False,
        "use_dictionary": [name for name in table.column_names if _path_of(table.schema.field(name)) not in floats],
        "sorting_columns": pq.SortingColumn.from_ordering(table.schema, order) if order else None,
    }
    rows = rows_per_part or _rows_per_part(table)
    for part, start in enumerate(range(0, max(1, table.num_rows), rows)):
        pq.write_table(table.slice(start, rows), folder / f"part-{part:05d}.parquet", **options)


def is_sorted(table: pa.Table, keys: Sequence[str]) -> bool:
    """Whether the rows stand in ascending order of the keys, texts by their bytes."""
    if not keys:
        return False
    before, after = table.slice(0, max(0, table.num_rows - 1)), table.slice(1)
    less_R, equal_R = np.zeros(len(after), dtype=bool), np.ones(len(after), dtype=bool)
    for key in keys:
        less_R |= equal_R & pc.less(before.column(key), after.column(key)).to_numpy()
        equal_R &= pc.equal(before.column(key), after.column(key)).to_numpy()
    return bool((less_R | equal_R).all())


def _float_paths(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns of floats, vectors among them."""
    kinds = (field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type for field in schema)
    return [_path_of(field) for field, kind in zip(schema, kinds, strict=True) if pa.types.is_floating(kind)]


def _path_of(field: pa.Field) -> str:
    return f"{field.name}.list.element" if pa.types.is_fixed_size_list(field.type) else str(field.name)


def _rows_per_part(table: pa.Table) -> int:
    """As many whole row groups as fit into a part, one at least."""
    groups = int(BYTES_PER_PART * table.num_rows / max(1, table.nbytes)) // ROWS_PER_GROUP
    return max(1, groups) * ROWS_PER_GROUP


def read_table(release: UPath, name: str, rows: pc.Expression | None = None) -> pa.Table:
    """Read one table of a release, parts in order; only the `rows` asked for.

    Raises `StoreError` where there is none, or where it cannot be read.
    """
    filesystem, folder = arrow_filesystem(release / name)
    parts = [part for part in list_files(release / name) if part.endswith(".parquet")]
    if not parts:
        raise DamagedError(f"release {release}: {name} has no part-*.parquet")
    try:
        return pa.concat_tables(
            [pq.read_table(f"{folder}/{part}", filesystem=filesystem, filters=rows) for part in parts]
        )
    except pa.ArrowInvalid as error:  # such as a part that is cut, a null among vectors, or parts of different types
        raise DamagedError(f"release {release}: {name} cannot be read ({error}): it is damaged") from error
