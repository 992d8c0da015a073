"""Folders of `part-*.parquet` that are only ever added to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
from upath import UPath

from pipeline.errors import StoreError
from pipeline.storage.arrow import polars_name, polars_options


def parts_of(folder: UPath) -> list[UPath]:
    """The parts, sorted by name."""
    return sorted(folder.glob("part-*.parquet"), key=lambda path: path.name) if folder.exists() else []


def scan_parts(folder: UPath, empty: pl.DataFrame, file_column: str | None = None) -> pl.LazyFrame:
    """The rows of all parts, with the part's address in `file_column`; those of `empty` where there is no part."""
    parts = parts_of(folder)
    if not parts:
        return empty.lazy().with_columns(**({file_column: pl.lit("")} if file_column else {}))
    names = [polars_name(part) for part in parts]
    return pl.scan_parquet(names, glob=False, include_file_paths=file_column, **polars_options(folder))


@contextmanager
def blaming_parts(folder: UPath, read: Callable[[UPath], Any]) -> Iterator[None]:
    """Name the part that is damaged; a temporary fault of the store is raised as it is.

    Args: read: reads one part, or raises `DamagedError`.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        for part in parts_of(folder):
            read(part)
        raise StoreError(f"{folder} cannot be read: {error}; try again") from error
