"""Vectors that somebody else made: a Parquet table with ids, or a `.npy` matrix with a file of ids."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import FeatureError

ID, VECTOR = "item_id", "vector"


@dataclass(frozen=True)
class Precomputed:
    """Vectors by item id."""

    ids: pa.Array
    """Text (R,)."""
    matrix: np.ndarray
    """float32 (R, D)."""

    def digest(self) -> str:
        """sha256 over ids and vectors."""
        digest = hashlib.sha256(np.ascontiguousarray(self.matrix).data)
        digest.update("\n".join(self.ids.to_pylist()).encode())
        return digest.hexdigest()

    def rows_for(self, item_ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Matrix float32 (I, D) in the order of `item_ids`, zero where there is no vector, and a bool (I,)."""
        rows = pc.index_in(_as_text(item_ids), value_set=self.ids)
        present = rows.is_valid().to_numpy(zero_copy_only=False)
        matrix = np.zeros((len(rows), self.matrix.shape[1]), dtype=np.float32)
        matrix[present] = self.matrix[rows.drop_null().to_numpy()]
        return matrix, present


def _as_text(ids: Any) -> pa.Array:
    """Ids as an Arrow array of text: 7 and "7" are the same item."""
    array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
    array = array.cast(pa.string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


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
    if len(pc.unique(loaded.ids)) != len(loaded.ids):
        raise FeatureError(f"{vectors}: an item id stands twice; keep one vector each")
    return loaded


def _read_npy(vectors: Path, ids: Path | None) -> Precomputed:
    if ids is None or not ids.exists():
        raise FeatureError(f"{vectors}: a .npy matrix needs ids = 'FILE' with one item id a line; got {ids}")
    matrix = np.load(vectors, allow_pickle=False)
    names = ids.read_text(encoding="utf-8").splitlines()
    if matrix.ndim != 2 or len(matrix) != len(names):
        raise FeatureError(f"{vectors} has shape {matrix.shape}, {ids} has {len(names)} lines; they must agree")
    return Precomputed(_as_text(names), matrix.astype(np.float32))


def _read_parquet(vectors: Path) -> Precomputed:
    table = pq.read_table(vectors)
    for column in (ID, VECTOR):
        if column not in table.column_names:
            raise FeatureError(f"{vectors}: there is no column {column!r}, only {', '.join(table.column_names)}")
    table = table.filter(pc.is_valid(table.column(VECTOR)))
    column = table.column(VECTOR)
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1:
        raise FeatureError(f"{vectors}, column {VECTOR}: vectors have the lengths {sorted(lengths)}; one is needed")
    flat = pc.list_flatten(column).to_numpy().astype(np.float32, copy=False)
    return Precomputed(_as_text(table.column(ID)), flat.reshape(len(table), lengths[0]))
