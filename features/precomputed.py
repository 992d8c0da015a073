"""Vectors that somebody else made: a Parquet table with ids, or a `.npy` matrix with a file of ids."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import FeatureError

ID, VECTOR = "item_id", "vector"


@dataclass(frozen=True)
class Precomputed:
    """Vectors by item id."""

    ids: list[Any]
    matrix: np.ndarray
    """float32 (R, D)."""

    def digest(self) -> str:
        """sha256 over ids and vectors."""
        digest = hashlib.sha256(np.ascontiguousarray(self.matrix).tobytes())
        digest.update("\n".join(map(str, self.ids)).encode())
        return digest.hexdigest()

    def rows_for(self, item_ids: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Matrix float32 (I, D) in the order of `item_ids`, zero where there is no vector, and a bool (I,)."""
        place = {str(identifier): row for row, identifier in enumerate(self.ids)}
        rows = np.array([place.get(str(identifier), -1) for identifier in item_ids])
        present = rows >= 0
        matrix = np.zeros((len(item_ids), self.matrix.shape[1]), dtype=np.float32)
        matrix[present] = self.matrix[rows[present]]
        return matrix, present


def read_precomputed(vectors: Path, ids: Path | None) -> Precomputed:
    """Read vectors.

    Args:
        vectors: a `.npy` matrix, or a Parquet file or folder with the columns `item_id` and `vector`.
        ids: for `.npy`, a text file with one id a line, in the order of the rows.

    Raises:
        FeatureError: a file or column is missing, lengths differ, an id is repeated, or a value is not finite.
    """
    if not vectors.exists():
        raise FeatureError(f"precomputed vectors: {vectors} does not exist")
    loaded = _read_npy(vectors, ids) if vectors.suffix == ".npy" else _read_parquet(vectors)
    if not np.isfinite(loaded.matrix).all():
        raise FeatureError(f"{vectors}: a vector holds NaN or infinite values; leave the item out instead")
    if len(set(loaded.ids)) != len(loaded.ids):
        raise FeatureError(f"{vectors}: an item id stands twice; keep one vector each")
    return loaded


def _read_npy(vectors: Path, ids: Path | None) -> Precomputed:
    if ids is None or not ids.exists():
        raise FeatureError(f"{vectors}: a .npy matrix needs ids = 'FILE' with one item id a line; got {ids}")
    matrix = np.load(vectors, allow_pickle=False)
    names = ids.read_text(encoding="utf-8").splitlines()
    if matrix.ndim != 2 or len(matrix) != len(names):
        raise FeatureError(f"{vectors} has shape {matrix.shape}, {ids} has {len(names)} lines; they must agree")
    return Precomputed(names, matrix.astype(np.float32))


def _read_parquet(vectors: Path) -> Precomputed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(vectors)
    for column in (ID, VECTOR):
        if column not in table.column_names:
            raise FeatureError(f"{vectors}: there is no column {column!r}, only {', '.join(table.column_names)}")
    table = table.filter(pa.compute.is_valid(table.column(VECTOR)))
    rows = table.column(VECTOR).to_pylist()
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise FeatureError(f"{vectors}, column {VECTOR}: vectors have the lengths {sorted(lengths)}; one is needed")
    return Precomputed(table.column(ID).to_pylist(), np.array(rows, dtype=np.float32))
