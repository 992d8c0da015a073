"""The feature store of one encoder: `part-*.parquet` with one row per distinct content, only ever added to.

A part's name is a digest of the contents in it, so two attempts at the same part write the same file; it
appears in one step, so a reader sees it whole or not at all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import CONTENT_HASH, STATUS, VECTOR
from pipeline.errors import StoreError
from pipeline.release import vector_column
from pipeline.storage import arrow_filesystem, publish_file, scratch

OK, UNREADABLE = "ok", "unreadable"
ERROR = "error"


@dataclass(frozen=True)
class Encoded:
    """What became of one content: a vector float32 (D,), or why there is none."""

    digest: str
    vector: np.ndarray | None
    error: str | None = None


@dataclass(frozen=True)
class FeatureStore:
    """Features of one modality by one encoder."""

    folder: UPath

    def known(self) -> set[str]:
        """Hashes of all contents that were encoded or found unreadable."""
        return {digest for part in self._parts() for digest in self._read(part, [CONTENT_HASH]).column(0).to_pylist()}

    def read(self, digests: Sequence[str | None]) -> tuple[np.ndarray, list[str | None]]:
        """Vectors float32 (R, D) in the order asked for, and each one's status, None where it is unknown.

        Rows without a vector are zero. Of a content that stands in
        several parts the first by name counts.
        """
        table = self._table()
        place = {digest: row for row, digest in reversed(list(enumerate(table.column(CONTENT_HASH).to_pylist())))}
        status_of = table.column(STATUS).to_pylist()
        rows = [place.get(digest, -1) if digest else -1 for digest in digests]
        statuses = [status_of[row] if row >= 0 else None for row in rows]
        vectors = table.column(VECTOR).combine_chunks()
        dim = vectors.type.list_size
        matrix = np.zeros((len(digests), dim), dtype=np.float32)
        wanted = np.array([row for row, status in zip(rows, statuses, strict=True) if status == OK], dtype=np.int64)
        if len(wanted):
            flat = vectors.take(pa.array(wanted)).flatten().to_numpy(zero_copy_only=False)
            matrix[np.array([status == OK for status in statuses])] = flat.reshape(len(wanted), dim)
        return matrix, statuses

    def write_part(self, encoded: Sequence[Encoded], dim: int) -> None:
        """Add the outcome of some contents in one step."""
        table = _as_table(encoded, dim)
        name = hashlib.sha256("\n".join(entry.digest for entry in encoded).encode()).hexdigest()[:24]
        target = self.folder / f"part-{name}.parquet"
        with scratch(target) as folder:
            local = folder / target.name
            pq.write_table(table, local, compression="zstd")
            publish_file(local, target)

    def _parts(self) -> list[UPath]:
        return sorted(self.folder.glob("part-*.parquet"), key=lambda path: path.name) if self.folder.exists() else []

    def _table(self) -> pa.Table:
        parts = [self._read(part, [CONTENT_HASH, VECTOR, STATUS]) for part in self._parts()]
        return pa.concat_tables(parts) if parts else _as_table([], 1).drop_columns([ERROR])

    def _read(self, part: UPath, columns: list[str]) -> pa.Table:
        filesystem, name = arrow_filesystem(part)
        try:
            return pq.read_table(name, columns=columns, filesystem=filesystem)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise StoreError(f"{part} is damaged ({error}); delete it and run `microrec extract` again") from error


def _as_table(encoded: Sequence[Encoded], dim: int) -> pa.Table:
    """Rows of a part; a content without a vector holds zeros (Parquet readers differ on null fixed-size lists)."""
    matrix = np.zeros((len(encoded), dim), dtype=np.float32)
    for row, entry in enumerate(encoded):
        if entry.vector is not None:
            matrix[row] = entry.vector
    return pa.table(
        {
            CONTENT_HASH: pa.array([entry.digest for entry in encoded], pa.string()),
            VECTOR: vector_column(matrix),
            STATUS: pa.array([UNREADABLE if entry.vector is None else OK for entry in encoded], pa.string()),
            ERROR: pa.array([entry.error for entry in encoded], pa.string()),
        }
    )
