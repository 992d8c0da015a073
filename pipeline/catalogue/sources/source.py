"""What the pipeline needs to know of a layout, and what several layouts share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
from upath import UPath

from pipeline.errors import InputError

Format = Literal["tables", "amazon-2014", "amazon-2023", "mmrec"]
ItemsFrom = Literal["catalogue", "interactions", "both"]
Scan = Callable[[UPath], pl.LazyFrame]
"""Opens one file as a lazy table under our column names; raises `InputError` that names the file."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One layout. What its scans give is then treated as `pipeline.catalogue.tables` treats every table."""

    endings: tuple[str, ...]
    """Of the files that count where a location is a folder or a glob."""
    items_from: ItemsFrom
    """Where the set of items comes from, unless the configuration says."""
    scan_items: Scan
    scan_interactions: Scan


def rename_all(frame: pl.LazyFrame, path: UPath, columns: Mapping[str, str]) -> pl.LazyFrame:
    """Give columns our names; other columns stay.

    Args:
        frame: the file's content.
        path: the file, for messages.
        columns: their name to ours; all must be there.

    Raises `InputError` that names the column that is missing.
    """
    names = frame.collect_schema().names()
    for column in columns:
        if column not in names:
            raise InputError(
                f"{path}, line 1: there is no column {column!r}, only {', '.join(names)}; "
                "is this the right file, and catalogue.format the right format?"
            )
    return frame.rename(columns)
