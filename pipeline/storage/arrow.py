"""How Arrow and Polars reach the store, and a matrix as a column."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from upath import UPath

from pipeline.storage import object_store
from pipeline.storage.files import is_local


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


def arrow_filesystem(path: UPath) -> tuple[pafs.FileSystem, str]:
    """Return the Arrow file system that reads `path`, and the path as that file system spells it."""
    if is_local(path):
        return pafs.LocalFileSystem(), str(path)
    return pafs.PyFileSystem(pafs.FSSpecHandler(path.fs)), path.path


def polars_options(path: UPath) -> dict[str, Any]:
    """Arguments with which a Polars scan reaches `path`."""
    return {} if is_local(path) else object_store.polars_options(path)


def polars_name(path: UPath) -> str:
    """`path` as a Polars scan takes it."""
    return path.path if is_local(path) else str(path)
