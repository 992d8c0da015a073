"""The feature store of one encoder: `part-*.parquet` with one row per distinct content, only ever added to.

A part's name is a digest of the contents in it, so two attempts at the same part write the same file, of which the
first stays; it appears in one step, so a reader sees it whole or not at all. Reading never holds more than the
hashes, the matrix that is asked for, and a block of rows.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import CONTENT_HASH, STATUS, VECTOR
from pipeline.errors import StoreError
from pipeline.storage.arrow import polars_name, polars_options, vector_column
from pipeline.storage.files import publish_file, read_bytes, scratch

OK, UNREADABLE = "ok", "unreadable"
ERROR = "error"
BLOCK_ROWS = 65_536
_ROW, _PLACE = "row", "place"


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
    block_rows: int = BLOCK_ROWS
    """Rows that are read at once."""

    def statuses(self, hashes: pl.Series) -> pl.Series:
        """What became of each content asked for: `ok`, `unreadable`, or null where it is unknown (or the hash null)."""
        asked = hashes.alias(CONTENT_HASH).to_frame()
        with self._blaming_parts():
            known = self._scan().select(CONTENT_HASH, STATUS).unique(CONTENT_HASH, keep="first", maintain_order=True)
            wanted = known.join(asked.lazy(), on=CONTENT_HASH, how="semi").collect(engine="streaming")
        return asked.join(wanted, on=CONTENT_HASH, how="left", maintain_order="left")[STATUS]

    def read(self, hashes: pl.Series) -> tuple[np.ndarray, pl.Series]:
        """Vectors float32 (R, D) in the order asked for, zero where there is none, and `statuses`.

        Of a content that stands in several parts the first by name counts.
        """
        statuses = self.statuses(hashes)
        asked = hashes.alias(CONTENT_HASH).to_frame().with_row_index(_ROW).filter(statuses == OK)
        with self._blaming_parts():
            rows = self._scan().select(CONTENT_HASH, VECTOR, STATUS)
            dim = rows.head(1).collect()[VECTOR].to_numpy().shape[1]
            matrix = np.zeros((len(hashes), dim), dtype=np.float32)
            missing = np.ones(len(hashes), dtype=bool)
            for block in rows.collect_batches(chunk_size=self.block_rows, engine="streaming"):
                places = block.select(CONTENT_HASH).with_row_index(_PLACE).unique(CONTENT_HASH, keep="first")
                found = places.join(asked, on=CONTENT_HASH).select(_PLACE, _ROW).to_numpy()
                found = found[missing[found[:, 1]]]
                matrix[found[:, 1]] = block[VECTOR].to_numpy()[found[:, 0]]
                missing[found[:, 1]] = False
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

    def _scan(self) -> pl.LazyFrame:
        parts = self._parts()
        if not parts:
            empty: pl.DataFrame = pl.from_arrow(_as_table([], 1))  # type: ignore[assignment]
            return empty.lazy()
        return pl.scan_parquet([polars_name(part) for part in parts], glob=False, **polars_options(self.folder))

    @contextmanager
    def _blaming_parts(self) -> Iterator[None]:
        """Name the part that is damaged; a fault of the store, which may pass, is raised as it is."""
        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as error:
            for part in self._parts():
                payload = read_bytes(part)  # raises where the store is to blame
                try:
                    pl.read_parquet(io.BytesIO(payload))
                except (pl.exceptions.PolarsError, OSError) as fault:
                    raise StoreError(
                        f"{part} is damaged ({fault}); delete it and run `microrec extract` again"
                    ) from fault
            raise StoreError(f"{self.folder} cannot be read: {error}; try again") from error


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
