"""The release format: its tables and its digest (docs/formats.md)."""

import hashlib
import json
from pathlib import Path
from typing import Any

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
from pipeline.errors import StoreError
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
ROWS_PER_PART = 1_000_000


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
            writer.write_table(plain, max_chunksize=ROWS_PER_PART)
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


def write_table(table: pa.Table, folder: Path, digest: str, rows_per_part: int = ROWS_PER_PART) -> None:
    """Write `part-*.parquet` files whose footers carry the release digest; an empty table is one part without rows."""
    folder.mkdir()
    footer = {FOOTER_DIGEST: digest.encode(), FOOTER_SCHEMA: str(SCHEMA_VERSION).encode()}
    table = table.replace_schema_metadata(footer)
    for part, start in enumerate(range(0, max(1, table.num_rows), rows_per_part)):
        pq.write_table(table.slice(start, rows_per_part), folder / f"part-{part:05d}.parquet", compression="zstd")


def read_table(release: UPath, name: str, rows: pc.Expression | None = None) -> pa.Table:
    """Read one table of a release, parts in order; only the `rows` asked for.

    Raises `StoreError` where there is none, or where it cannot be read.
    """
    filesystem, folder = arrow_filesystem(release / name)
    parts = [part for part in list_files(release / name) if part.endswith(".parquet")]
    if not parts:
        raise StoreError(f"release {release}: {name} has no part-*.parquet")
    try:
        return pa.concat_tables(
            [pq.read_table(f"{folder}/{part}", filesystem=filesystem, filters=rows) for part in parts]
        )
    except pa.ArrowInvalid as error:  # such as a part that is cut, a null among vectors, or parts of different types
        raise StoreError(f"release {release}: {name} cannot be read ({error}): it is damaged") from error
