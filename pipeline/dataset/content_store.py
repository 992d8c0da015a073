"""Contents that were read before: the digest of an unchanged file is known without reading it.

`part-*.parquet`, a row a reading, only ever added to. Of several readings of the same version the latest counts.
A reading is trusted later only where every later write has another version, as git's index has it: of a file that was
written within two seconds of the reading, or after it, the time may stand still. Such a reading serves its own night.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl
from upath import UPath

from pipeline.catalogue.pictures import PictureRead
from pipeline.columns import LOCATION, PROBLEM, READ_AT, SETTLED, SHA256, SIZE, VERSION
from pipeline.dataset.parts import blaming_parts, scan_parts
from pipeline.errors import DamagedError
from pipeline.storage.files import publish_file, read_bytes, scratch

SCHEMA = {
    LOCATION: pl.String,
    SIZE: pl.Int64,
    VERSION: pl.String,
    SHA256: pl.String,
    PROBLEM: pl.String,
    READ_AT: pl.Int64,
    SETTLED: pl.Boolean,
}
_ITSELF = [LOCATION, SIZE, VERSION]


@dataclass(frozen=True)
class ContentStore:
    """What is known of files outside the store."""

    folder: UPath

    def known(self, versions: pl.DataFrame, *, settled: bool = False) -> pl.DataFrame:
        """`sha256` and `problem` of the file that each row names by location, size and version; null where unknown.

        Args: settled: only by readings that can be trusted later.
        """
        asked = versions.select(_ITSELF)
        with blaming_parts(self.folder, _read):
            rows = scan_parts(self.folder, pl.DataFrame(schema=SCHEMA))
            rows = rows.filter(pl.col(SETTLED)) if settled else rows
            found = rows.join(asked.lazy(), on=_ITSELF, how="semi").collect(engine="streaming")
        latest = found.sort(READ_AT, SHA256).unique(_ITSELF, keep="last")
        return asked.join(latest, on=_ITSELF, how="left", maintain_order="left").select(SHA256, PROBLEM)

    def add(self, read: Sequence[PictureRead]) -> None:
        """Remember some readings in one step."""
        if not read:
            return
        table = pl.DataFrame([_row(one) for one in read], SCHEMA)
        name = hashlib.sha256("\n".join(map(str, table.iter_rows())).encode()).hexdigest()[:24]
        target = self.folder / f"part-{name}.parquet"
        with scratch(target) as folder:
            table.write_parquet(folder / target.name)
            publish_file(folder / target.name, target)


def _read(part: UPath) -> pl.DataFrame:
    """A part's rows; raises `DamagedError` where it cannot be read, and the store's fault as it is."""
    payload = read_bytes(part)
    try:
        return pl.read_parquet(io.BytesIO(payload)).match_to_schema(SCHEMA)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedError(f"{part} is damaged ({error}); delete it, and its pictures are read again") from error


def _row(read: PictureRead) -> dict[str, str | int | bool | None]:
    return {LOCATION: read.location, SHA256: read.sha256, PROBLEM: read.problem, **asdict(read.version)}
