"""The release format: its tables, its digest, its manifest (docs/formats.md)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
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
from pipeline.errors import InputError, StoreError
from pipeline.storage import (
    SUCCESS,
    Store,
    arrow_filesystem,
    is_complete,
    list_files,
    read_json,
    require_known_scheme,
    resolve,
)

SCHEMA_VERSION = 1
MANIFEST, REPORT, INDEX = "manifest.json", "report.html", "index.faiss"
ITEM_EMBEDDINGS, USER_VECTORS, ITEM_GRAPH = "item_embeddings", "user_vectors", "item_graph"
TABLES = (ITEM_EMBEDDINGS, USER_VECTORS, ITEM_GRAPH)
FOOTER_DIGEST = b"microrec.release_digest"
FOOTER_SCHEMA = b"microrec.schema_version"
ROWS_PER_PART = 1_000_000


def vector_column(matrix_RD: np.ndarray) -> pa.FixedSizeListArray:
    """A float32 matrix as a non-null FixedSizeList column."""
    flat = pa.array(np.ascontiguousarray(matrix_RD, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix_RD.shape[1])


def vectors_of(table: pa.Table, column: str) -> np.ndarray:
    """The inverse of `vector_column`, float32 (R, D)."""
    array = table.column(column).combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(len(array), array.type.list_size)


def expected_columns(table: str) -> tuple[str, ...]:
    """Columns every release has in a table; items also have one `weight_<modality>` per modality."""
    return {
        ITEM_EMBEDDINGS: (ITEM_ID, EMBEDDING, CONTENT_EMBEDDING, SOURCE),
        USER_VECTORS: (USER_ID, EMBEDDING),
        ITEM_GRAPH: (ITEM_ID, NEIGHBOUR_ID, MODALITY, RANK, SIMILARITY),
    }[table]


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


def release_digest(tables: dict[str, pa.Table]) -> str:
    """One digest for the content of all tables: the same vectors and graph give the same digest, whatever the run."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tables": {name: table_digest(table) for name, table in tables.items()},
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write_table(table: pa.Table, folder: Path, digest: str) -> None:
    """Write `part-*.parquet` files whose footers carry the release digest."""
    folder.mkdir()
    footer = {FOOTER_DIGEST: digest.encode(), FOOTER_SCHEMA: str(SCHEMA_VERSION).encode()}
    table = table.replace_schema_metadata(footer)
    for part, start in enumerate(range(0, max(1, table.num_rows), ROWS_PER_PART)):
        pq.write_table(table.slice(start, ROWS_PER_PART), folder / f"part-{part:05d}.parquet", compression="zstd")


def read_table(release: UPath, name: str) -> pa.Table:
    """Read one table of a release, parts in order."""
    filesystem, folder = arrow_filesystem(release / name)
    parts = [part for part in list_files(release / name) if part.endswith(".parquet")]
    if not parts:
        raise StoreError(f"release {release}: {name} has no part-*.parquet")
    return pa.concat_tables([pq.read_table(f"{folder}/{part}", filesystem=filesystem) for part in parts])


def file_sha256(path: UPath | Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(release: UPath) -> dict[str, Any]:
    """Manifest of a complete release.

    Raises `StoreError` where the release does not exist, i.e. has no `_SUCCESS`.
    """
    if not is_complete(release):
        raise StoreError(f"there is no release at {release} (no _SUCCESS); see `microrec run`")
    try:
        manifest: dict[str, Any] = read_json(release / MANIFEST)
    except FileNotFoundError as error:
        raise StoreError(f"{release} has no {MANIFEST}: it is damaged; delete it and export again") from error
    return manifest


def choose_release(store: Store, name: str | None) -> UPath:
    """The release of that run id or at that place, or without a name the champion's, or else the only one there is.

    Raises `InputError` where that does not name one.
    """
    if name and "/" in name:
        require_known_scheme(name, "--release")
        release = resolve(name.rstrip("/"), Path.cwd())
        if not is_complete(release):
            raise InputError(f"no release at {release}: a release has a {SUCCESS} file")
        return release
    if name:
        release = store.release(name)
        if not is_complete(release):
            raise InputError(f"no release {name!r} in {store.releases}; there are {_release_names(store)}")
        return release
    if store.champion.exists():
        return store.release(read_json(store.champion)["run_id"])
    names = _release_names(store)
    if len(names) == 1:
        return store.release(names[0])
    raise InputError(f"name a release with --release: there is no champion, and {store.releases} holds {names}")


def _release_names(store: Store) -> list[str]:
    if not store.releases.exists():
        return []
    return sorted(path.name for path in store.releases.iterdir() if not path.name.startswith(".") and is_complete(path))
