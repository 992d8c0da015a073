"""The feature store of one encoder: `part-*.parquet` with one row per distinct content, only ever added to.

A part's name is a digest of the contents in it, so two attempts at the same part write the same file, of which the
first stays; it appears in one step, so a reader sees it whole or not at all. Reading never holds more than the
hashes, the matrix that is asked for, and a block of rows.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import CONTENT_HASH, STATUS, VECTOR
from pipeline.dataset.parts import blaming_parts, parts_of, scan_parts
from pipeline.errors import DamagedError
from pipeline.storage.arrow import vector_column, vectors_of
from pipeline.storage.files import publish_file, read_bytes, scratch

OK, UNREADABLE = "ok", "unreadable"
ERROR = "error"
BLOCK_ROWS, AT_ONCE = 65_536, 8
"""Rows that are searched, and parts that are read, at once."""
FOOTER_DIGEST = b"microrec.rows_sha256"
"""In a part's footer: sha256 of its rows; parts of earlier versions have none."""
MEND = "delete it, and stage `extract` of the run, and continue the run: what was in it is encoded again"
_ROW, _PLACE, _FILE = "row", "place", "file"


@dataclass(frozen=True)
class Encoded:
    """What became of one content: a vector float32 (D,), or why there is none."""

    digest: str
    vector: np.ndarray | None
    error: str | None = None


@dataclass(frozen=True)
class Digests:
    """Contents that are in a store, 32 bytes each."""

    encoded: np.ndarray
    """Digests of those with a vector, sorted, (R,) of 32 bytes."""
    unreadable: np.ndarray
    """The same of those without."""

    def has_vector(self, digest: str) -> bool:
        """Whether a content, by its sha256 in hex, has a vector."""
        return _holds(self.encoded, digest)

    def holds(self, digest: str) -> bool:
        """Whether it is here, with a vector or without."""
        return self.has_vector(digest) or _holds(self.unreadable, digest)


def _sorted(hashes: pl.Series) -> np.ndarray:
    return np.unique(np.array(hashes.str.decode("hex").to_list(), dtype="S32"))


def _holds(digests: np.ndarray, digest: str) -> bool:
    wanted = np.bytes_(bytes.fromhex(digest))
    place = int(np.searchsorted(digests, wanted))
    return place < len(digests) and digests[place] == wanted


@dataclass(frozen=True)
class FeatureStore:
    """Features of one modality by one encoder."""

    folder: UPath
    block_rows: int = BLOCK_ROWS
    """Rows that are searched at once, or those of a few parts where these are more."""

    def statuses(self, hashes: pl.Series) -> pl.Series:
        """What became of each content asked for: `ok`, `unreadable`, or null where it is unknown (or the hash null)."""
        asked = hashes.alias(CONTENT_HASH).to_frame()
        with blaming_parts(self.folder, _sound_rows):
            known = self._scan().select(CONTENT_HASH, STATUS).unique(CONTENT_HASH, keep="first", maintain_order=True)
            wanted = known.join(asked.lazy(), on=CONTENT_HASH, how="semi").collect(engine="streaming")
        return asked.join(wanted, on=CONTENT_HASH, how="left", maintain_order="left")[STATUS]

    def digests(self) -> Digests:
        """The contents that are here."""
        with blaming_parts(self.folder, _sound_rows):
            rows = self._scan().select(CONTENT_HASH, STATUS).collect(engine="streaming")
        decoded = {status: part[CONTENT_HASH] for (status,), part in rows.partition_by(STATUS, as_dict=True).items()}
        none = pl.Series([], dtype=pl.String)
        return Digests(_sorted(decoded.get(OK, none)), _sorted(decoded.get(UNREADABLE, none)))

    def read(self, hashes: pl.Series) -> tuple[np.ndarray, pl.Series]:
        """Vectors float32 (R, D) in the order asked for, zero where there is none, and `statuses`.

        Of a content that stands in several parts the first by name counts.
        """
        asked = hashes.alias(CONTENT_HASH).to_frame().with_row_index(_ROW)
        matrix, status_R = np.zeros((len(hashes), 1), dtype=np.float32), np.full(len(hashes), None, dtype=object)
        for number, block in enumerate(self._blocks()):
            if number == 0:
                matrix = np.zeros((len(hashes), block[VECTOR].to_numpy().shape[1]), dtype=np.float32)
            places = block.select(CONTENT_HASH).with_row_index(_PLACE).unique(CONTENT_HASH, keep="first")
            found = places.join(asked, on=CONTENT_HASH).select(_PLACE, _ROW).to_numpy()
            found = found[status_R[found[:, 1]] == None]  # noqa: E711  an array, cell by cell
            matrix[found[:, 1]] = block[VECTOR].to_numpy()[found[:, 0]]
            status_R[found[:, 1]] = block[STATUS].to_numpy()[found[:, 0]]
        return matrix, pl.Series(STATUS, status_R.tolist(), dtype=pl.String)

    def _blocks(self) -> Iterator[pl.DataFrame]:
        """All rows in the order of the parts, some parts at a time, each held against its digest."""
        parts, waiting = parts_of(self.folder), list[pl.DataFrame]()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(parts), AT_ONCE):
                waiting += pool.map(_sound_rows, parts[start : start + AT_ONCE])
                if sum(map(len, waiting)) >= self.block_rows:
                    yield pl.concat(waiting)
                    waiting = []
        if waiting:
            yield pl.concat(waiting)

    def parts_of(self, hashes: pl.Series) -> list[str]:
        """Names of the parts that hold any of some contents, sorted: a run that needs these contents refers to them."""
        asked = hashes.alias(CONTENT_HASH).to_frame().lazy()
        with blaming_parts(self.folder, _sound_rows):
            rows = self._scan(_FILE).select(CONTENT_HASH, _FILE).join(asked, on=CONTENT_HASH, how="semi")
            files = rows.select(pl.col(_FILE).unique()).collect(engine="streaming")[_FILE]
        return sorted(file.rpartition("/")[2] for file in files)

    def write_part(self, encoded: Sequence[Encoded], dim: int) -> None:
        """Add the outcome of some contents in one step."""
        table = _as_table(encoded, dim)
        name = hashlib.sha256("\n".join(entry.digest for entry in encoded).encode()).hexdigest()[:24]
        target = self.folder / f"part-{name}.parquet"
        with scratch(target) as folder:
            local = folder / target.name
            pq.write_table(table.replace_schema_metadata({FOOTER_DIGEST: _digest(table)}), local, compression="zstd")
            publish_file(local, target)

    def _scan(self, file_column: str | None = None) -> pl.LazyFrame:
        empty: pl.DataFrame = pl.from_arrow(_as_table([], 1))  # type: ignore[assignment]
        return scan_parts(self.folder, empty, file_column)


def _sound_rows(part: UPath) -> pl.DataFrame:
    """All rows of a part.

    Raises `DamagedError` where it cannot be read or does not fit its digest; a fault of the store is raised as it is.
    """
    payload = read_bytes(part)
    try:
        table = pq.read_table(io.BytesIO(payload))
        _require_types(table.schema)
        recorded = (table.schema.metadata or {}).get(FOOTER_DIGEST)
        if recorded is not None and recorded != _digest(table):
            raise ValueError("its digest does not fit its rows")
        rows = pl.from_arrow(table.select([CONTENT_HASH, VECTOR, STATUS]).replace_schema_metadata())
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, LookupError, ValueError) as error:
        raise DamagedError(f"{part} is damaged ({error}); {MEND}") from error
    assert isinstance(rows, pl.DataFrame)
    return rows


def _require_types(schema: pa.Schema) -> None:
    kind = schema.field(VECTOR).type
    texts = all(pa.types.is_string(schema.field(name).type) for name in (CONTENT_HASH, STATUS))
    if not (texts and pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32()):
        raise ValueError(f"its columns are {schema.names} of {schema.types}")


def _digest(table: pa.Table) -> bytes:
    """sha256 of the rows of a part, as its footer has it."""
    digest = hashlib.sha256(vectors_of(table, VECTOR).data)
    for name in (CONTENT_HASH, STATUS, ERROR):
        digest.update(b"\n".join(text or b"" for text in table.column(name).cast(pa.binary()).to_pylist()))
    return digest.hexdigest().encode()


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
