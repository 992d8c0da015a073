"""The pictures of a run: `validate` lists them once, and keeps the listing and what it has read beside its result.

Later stages take the listing. So shards agree on which of them reads a picture, and no picture that `validate` has
read is read again.
"""

import io
from dataclasses import asdict
from pathlib import Path

import polars as pl

from pipeline import stages
from pipeline.catalogue.contents import UnreadPicture
from pipeline.catalogue.pictures import Checked, PictureRead, Pictures
from pipeline.columns import IMAGE_PATH, LOCATION, PAYLOAD, READ_AT, SETTLED, SHA256, SIZE, VERSION
from pipeline.run import Run
from pipeline.storage.files import read_bytes
from pipeline.storage.version import Reading

LISTING, SAMPLE = "pictures.parquet", "sample.parquet"
_SAMPLE = {
    IMAGE_PATH: pl.String,
    LOCATION: pl.String,
    SIZE: pl.Int64,
    VERSION: pl.String,
    SHA256: pl.String,
    READ_AT: pl.Int64,
    SETTLED: pl.Boolean,
    PAYLOAD: pl.Binary,
}


def keep_pictures(folder: Path, listing: pl.DataFrame, sample: dict[str, Checked]) -> None:
    """Write the listing and what was read, by `image_path`, into the folder of stage `validate`."""
    listing.write_parquet(folder / LISTING)
    rows = [
        {IMAGE_PATH: name, **asdict(one.read.version), PAYLOAD: one.payload}
        | {LOCATION: one.read.location, SHA256: one.read.sha256}
        for name, one in sample.items()
        if one.read
    ]
    pl.DataFrame(rows, _SAMPLE).write_parquet(folder / SAMPLE)


def pinned_listing(run: Run) -> pl.DataFrame | None:
    """The pictures as `validate` has found them (`catalogue.listing`); None where it kept no listing."""
    return _kept(run, LISTING)


def pinned_pictures(run: Run, pictures: Pictures) -> dict[str, UnreadPicture]:
    """Those that `validate` has read, by `image_path`."""
    sample = _kept(run, SAMPLE)
    return {} if sample is None else {row[IMAGE_PATH]: _picture(pictures, row) for row in sample.iter_rows(named=True)}


def _picture(pictures: Pictures, row: dict[str, object]) -> UnreadPicture:
    version = Reading(**{name: row[name] for name in (SIZE, VERSION, READ_AT, SETTLED)})  # type: ignore[arg-type]
    read = PictureRead(location=str(row[LOCATION]), version=version, sha256=str(row[SHA256]))
    return UnreadPicture(pictures, read.location, row[PAYLOAD], read)  # type: ignore[arg-type]


def _kept(run: Run, name: str) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(io.BytesIO(read_bytes(run.folder(stages.VALIDATE) / name)))
    except FileNotFoundError:
        return None
