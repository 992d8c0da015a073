"""Vectors that somebody else made, by item id: Parquet, a `.npy` matrix, or Amazon's binary picture features.

Only the rows of the items asked for are kept, so a file may be far larger than memory.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Literal
from zipfile import BadZipFile

import numpy as np

from features.errors import FeatureError
from features.scale import in_range

ID, VECTOR = "item_id", "vector"
ROWS: Final = "rows"
"""In place of a file of ids: the id is the row number, counted from 0."""
Ids = Path | Literal["rows"] | None
BLOCK = 1024
"""Vectors read at once: what is in memory besides those kept."""
AMAZON_RECORD = np.dtype([(ID, "S10"), (VECTOR, "<f4", 4096)])
"""One item in `image_features_<Category>.b` (He and McAuley, AAAI 2016)."""

Block = tuple[Sequence[Any], np.ndarray]
"""Ids and their vectors, (R, D)."""


@dataclass(frozen=True)
class Precomputed:
    """The vectors of the requested items."""

    matrix: np.ndarray
    """float32 (I, D), zero where there is no vector."""
    present: np.ndarray
    """bool (I,)."""
    num_vectors: int
    """In the file, those of other items too."""
    num_zero: int = 0
    """Vectors of the items asked for that are all zero, the usual mark of missing content: they count as absent."""
    num_scaled: int = 0
    """Vectors of the items asked for that are so long or so short that they were scaled (`features.scale`)."""

    def digest(self, item_ids: Sequence[Any]) -> str:
        """sha256 over the vectors and the ids they belong to."""
        digest = hashlib.sha256(self.matrix.tobytes())
        digest.update("\n".join(f"{item}\t{has}" for item, has in zip(item_ids, self.present, strict=True)).encode())
        return digest.hexdigest()


def read_precomputed(
    vectors: Path | Sequence[Path], ids: Ids, item_ids: Sequence[Any], *, block: int = BLOCK
) -> Precomputed:
    """Read the vectors of some items; ids are compared as text.

    Args:
        vectors: Parquet files with the columns `item_id` and `vector`, a `.npy` matrix, or a `.b` file.
        ids: for `.npy`, a text file with one id a line, in the order of the rows, or `ROWS`.
        item_ids: the items, in the order wanted; I of them.
        block: vectors read at once, at least 1; the result does not depend on it.

    Raises:
        FeatureError: a file or column is missing, damaged or cut off, lengths differ, an item has two vectors that
            differ, or a value is not finite.
    """
    files = [vectors] if isinstance(vectors, Path) else vectors
    row_of = {str(item): row for row, item in enumerate(item_ids)}
    matrix, present, num_vectors = None, np.zeros(len(item_ids), dtype=bool), 0
    scaled = np.zeros(len(item_ids), dtype=bool)
    for file, names, raw_RD in _blocks(files, ids, block):
        num_vectors += len(names)
        if not raw_RD.shape[1]:
            raise FeatureError(f"{file}: vectors have the length 0")
        vector_RD, odd_R = in_range(raw_RD)
        if matrix is None:
            matrix = np.zeros((len(item_ids), vector_RD.shape[1]), dtype=np.float32)
        if vector_RD.shape[1] != matrix.shape[1]:
            lengths = sorted({vector_RD.shape[1], matrix.shape[1]})
            raise FeatureError(f"{file}: vectors have the lengths {lengths}; one is needed")
        rows = np.array([row_of.get(str(name), -1) for name in names])
        asked, found = rows[rows >= 0], vector_RD[rows >= 0]
        scaled[asked] = odd_R[rows >= 0]
        fresh = ~present[asked]
        matrix[asked[fresh]], present[asked] = found[fresh], True
        for wrong, problem in (
            (~np.isfinite(found).all(axis=1), "has a vector with NaN or infinite values; leave the item out instead"),
            ((matrix[asked] != found).any(axis=1), "stands twice, with vectors that differ; keep one"),
        ):
            if wrong.any():
                raise FeatureError(f"{file}: item {item_ids[asked[wrong.argmax()]]!r} {problem}")
    if matrix is None:
        raise FeatureError(f"{', '.join(map(str, files))}: there is no vector; name vectors of the catalogue's items")
    zero = present & ~matrix.any(axis=1)
    return Precomputed(matrix, present & ~zero, num_vectors, int(zero.sum()), int(scaled.sum()))


def _blocks(files: Sequence[Path], ids: Ids, block: int) -> Iterator[tuple[Path, Sequence[Any], np.ndarray]]:
    for file in files:
        for names, vector_RD in _blocks_of(file, ids, block):
            yield file, names, vector_RD


def _blocks_of(file: Path, ids: Ids, block: int) -> Iterator[Block]:
    if not file.exists():
        raise FeatureError(f"precomputed vectors: {file} does not exist")
    if file.suffix == ".npy":
        return _npy_blocks(file, ids, block)
    return _amazon_blocks(file, block) if file.suffix == ".b" else _parquet_blocks(file, block)


def _npy_blocks(vectors: Path, ids: Ids, block: int) -> Iterator[Block]:
    try:
        matrix = np.load(vectors, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile, TokenError) as error:
        raise FeatureError(f"{vectors} cannot be read as a .npy matrix: {error}") from error
    if not isinstance(matrix, np.ndarray):
        raise FeatureError(f"{vectors} holds several arrays, as .npz does; write one matrix with numpy.save")
    if matrix.ndim != 2:
        raise FeatureError(f"{vectors} has shape {matrix.shape}; a matrix of one vector a row is needed")
    if matrix.dtype.kind not in "fiub":
        raise FeatureError(f"{vectors} holds {matrix.dtype}; a matrix of numbers is needed")
    names = _row_names(vectors, ids, len(matrix))
    if len(matrix) != len(names):
        raise FeatureError(f"{vectors} has shape {matrix.shape}, {ids} has {len(names)} lines; they must agree")
    for start in range(0, len(matrix), block):
        yield names[start : start + block], matrix[start : start + block]


def _row_names(vectors: Path, ids: Ids, num_rows: int) -> Sequence[Any]:
    if ids == ROWS:
        return range(num_rows)
    if not isinstance(ids, Path) or not ids.is_file():
        raise FeatureError(
            f"{vectors}: a .npy matrix needs ids = 'FILE' with one item id a line, or ids = '{ROWS}' where ids are the "
            f"row numbers; got {ids}"
        )
    try:
        return ids.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FeatureError(f"{ids} is not UTF-8 text: {error}") from error


def _amazon_blocks(vectors: Path, block: int) -> Iterator[Block]:
    size = vectors.stat().st_size
    if size % AMAZON_RECORD.itemsize:
        raise FeatureError(
            f"{vectors} is cut off in record {size // AMAZON_RECORD.itemsize + 1:,}: its {size:,} bytes are not a "
            f"multiple of {AMAZON_RECORD.itemsize:,} (an id of 10 characters and 4,096 float32); fetch it again"
        )
    with vectors.open("rb") as file:
        before = 0
        while content := file.read(block * AMAZON_RECORD.itemsize):
            records = np.frombuffer(content, AMAZON_RECORD)
            names = records[ID].tolist()
            for number, name in enumerate(names, start=before + 1):
                if not name.isascii():
                    raise FeatureError(
                        f"{vectors}, record {number:,}: the id {name!r} is not ASCII text; fetch it again"
                    )
            before += len(names)
            yield [name.decode("ascii") for name in names], records[VECTOR]


def _parquet_blocks(vectors: Path, block: int) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    try:
        table = ds.dataset(vectors, format="parquet")
        for column in (ID, VECTOR):
            if column not in table.schema.names:
                raise FeatureError(f"{vectors}: there is no column {column!r}, only {', '.join(table.schema.names)}")
        ids, values = table.schema.field(ID).type, table.schema.field(VECTOR).type
        if not _is_id(ids):
            raise FeatureError(f"{vectors}, column {ID}: ids are {ids}; write them as text or whole numbers")
        if not _is_list_of_numbers(values):
            raise FeatureError(f"{vectors}, column {VECTOR}: values are {values}; lists of numbers are needed")
        for batch in table.to_batches(columns=[ID, VECTOR], batch_size=block):
            there = pc.and_(*(pc.is_valid(batch.column(name)) for name in (ID, VECTOR)))
            filled = batch.filter(there)
            if len(filled):
                yield filled.column(ID).to_pylist(), _as_matrix(vectors, filled.column(VECTOR))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FeatureError(f"{vectors} cannot be read as Parquet: {error}") from error


def _is_id(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_id(kind.value_type)
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_integer))


def _is_list_of_numbers(kind: Any) -> bool:
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    numbers = (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean)
    return any(test(kind) for test in lists) and any(test(kind.value_type) for test in numbers)


def _as_matrix(vectors: Path, column: Any) -> np.ndarray:
    """Lists without nulls as rows of their own type; a null within a list becomes NaN."""
    import pyarrow.compute as pc

    lengths = sorted(pc.list_value_length(column).unique().to_pylist())
    if len(lengths) != 1:
        raise FeatureError(f"{vectors}, column {VECTOR}: vectors have the lengths {lengths}; one is needed")
    flat: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), lengths[0])
