"""The user's catalogue and interactions: where they are, and their tables as they stand."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import polars as pl
from upath import UPath

from pipeline.catalogue.blame import UNREADABLE
from pipeline.catalogue.column_types import Table
from pipeline.catalogue.locations import find_files, location_root
from pipeline.catalogue.overlooked import overlooked
from pipeline.catalogue.pictures import Pictures
from pipeline.catalogue.sources import Format, ItemsFrom, find_source
from pipeline.catalogue.sources.source import Source
from pipeline.catalogue.tables import collect, read_tables
from pipeline.catalogue.text_files import EmptyFileError
from pipeline.columns import ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.errors import InputError, nearest
from pipeline.storage.files import is_local, require_reachable, resolve

Trust = Literal["version", "content"]
INTERACTION_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, RATING, WEIGHT, SPLIT)
NAMED = 5  # ids or files named in a message
BATCH_ROWS = 10_000
_ROW = "__row"


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which interactions count; applied in this order, one pass each."""

    user_share: float = 1.0
    """Share of the users kept, chosen by a hash of their ids: for a trial on a part of the data."""
    min_rating: float | None = None
    """Interactions rated below this are left out; needs a rating column."""
    max_user_interactions: int | None = None
    """A user with more keeps this many, drawn by a hash of the ids: the same ones every night."""
    min_user_interactions: int = 0
    """Users with fewer interactions are left out."""
    min_item_interactions: int = 0
    """Interactions of items with fewer are left out; the items themselves stay in the catalogue."""

    def __post_init__(self) -> None:
        if not 0 < self.user_share <= 1:
            raise ValueError(f"user_share must be above 0 and at most 1, got {self.user_share}")
        for name in ("min_user_interactions", "min_item_interactions"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.max_user_interactions is not None and self.max_user_interactions < 1:
            raise ValueError(f"max_user_interactions must be at least 1, got {self.max_user_interactions}")


@dataclass(frozen=True, kw_only=True)
class CatalogueConfig:
    """Where the catalogue and the interactions are."""

    items: str
    """File, folder or glob; local (relative to the configuration file) or `s3://`."""
    interactions: tuple[str, ...]
    """The same, one or more."""
    format: Format = "tables"
    """`tables` (parquet, csv, jsonl), or the files of a published data set: `amazon-2014`, `amazon-2023`, `mmrec`
    (docs/how-to/datasets.md)."""
    items_from: ItemsFrom | None = None
    """Which items there are: those of the `catalogue`, those that the `interactions` name, or `both`. An item that
    only the interactions name has no content. Unset: `catalogue` for tables, `interactions` for Amazon's files (as
    in the paper), `both` for MMRec's."""
    image_root: str = "."
    """Folder that `image_path` is relative to."""
    images_outside_root: bool = False
    """Whether to read pictures outside `image_root`: by `..`, an absolute path, `s3://`, or a link out of it."""
    trust: Trust = "version"
    """How a known picture is recognised. `version`: by size and modification time, in an object store by its ETag.
    `content`: every picture is read every night, by `extract` and by `prepare`."""
    columns: dict[str, str] = field(default_factory=dict)
    """Your column name to ours (`asin = "item_id"`)."""
    filter: FilterConfig = field(default_factory=FilterConfig)


@dataclass(frozen=True)
class Catalogue:
    """The tables and pictures that a configuration names."""

    settings: CatalogueConfig
    base: Path
    """Folder that relative locations start at."""

    def path(self, location: str) -> UPath:
        """Resolve a location that stands in the configuration."""
        return resolve(location, self.base)

    @property
    def shown_interactions(self) -> str:
        """Where the interactions are, for messages."""
        return ", ".join(self.settings.interactions)

    @property
    def items_from(self) -> ItemsFrom:
        """Which items there are, as configured or as the format has it."""
        return self.settings.items_from or self._source.items_from

    @property
    def _source(self) -> Source:
        return find_source(self.settings.format)

    def item_files(self) -> list[UPath]:
        """The catalogue's files, sorted."""
        return list(self._located(interactions=False))

    def interaction_files(self) -> list[UPath]:
        """Every file once, though two locations may overlap."""
        return list(self._located(interactions=True))

    def _located(self, *, interactions: bool) -> dict[UPath, UPath]:
        """Every file, with the first location that it was found at."""
        if interactions and not self.settings.interactions:
            raise InputError("catalogue.interactions is empty; name at least one file")
        found: dict[UPath, UPath] = {}
        for location in map(self.path, self.settings.interactions if interactions else [self.settings.items]):
            for file in find_files(location, self._source.endings):
                found.setdefault(file, location)
        return found

    def pictures(self) -> Pictures:
        """The catalogue's pictures.

        Raises `InputError` where their folder is not there.
        """
        root = self.path(self.settings.image_root)
        require_reachable(root, "catalogue.image_root")
        if not root.exists():
            raise InputError(f"catalogue.image_root: {root} does not exist; name the folder of the pictures")
        return Pictures(root, outside=self.settings.images_outside_root)

    def scan_catalogue(self) -> pl.LazyFrame:
        """The catalogue as it is, under our column names; ids are text or int64.

        Raises `InputError` for a file that is missing, cannot be read or lacks the column `item_id`.
        """
        return self._scan(self._located(interactions=False), interactions=False)

    def scan_items(self) -> pl.LazyFrame:
        """The rows of the items there are (`catalogue.items_from`): the catalogue's, or those that interactions name.

        What interactions name does not depend on the filters; an item that the catalogue lacks has nulls but for its
        id.

        Raises `InputError` as `scan_catalogue` and `scan_interactions` do, and where their ids differ in type.
        """
        frame = self.scan_catalogue()
        if self.items_from == "catalogue":
            return frame
        interactions = self.scan_interactions()
        found, expected = interactions.collect_schema()[ITEM_ID], frame.collect_schema()[ITEM_ID]
        require_same_id_type(found, expected, self.shown_interactions)
        named = interactions.select(pl.col(ITEM_ID).drop_nulls().unique())
        lacking = named.join(frame.select(ITEM_ID), on=ITEM_ID, how="anti")
        rows = frame if self.items_from == "both" else frame.join(named, on=ITEM_ID, how="semi")
        return pl.concat([rows, lacking], how="diagonal")

    def scan_interactions(self) -> pl.LazyFrame:
        """The interactions as they are, under our column names; other columns are left out.

        Raises `InputError` for a file that is missing, cannot be read or lacks the column `user_id` or `item_id`.
        """
        return self._scan(self._located(interactions=True), interactions=True)

    def require_columns(self, names: Iterable[str], named_by: str) -> None:
        """Raise `InputError` for a column that the catalogue lacks, or that holds what no text can be made of.

        Args: named_by: the setting that names them.
        """
        table = self._table(self._located(interactions=False), interactions=False)
        there = table.frame.collect_schema().names()
        for name in names:
            if name in table.left_out:
                raise InputError(f"{table.left_out[name]}, and {named_by} needs text; write text, or lists of it")
            if name not in there:
                raise InputError(
                    f"{self.settings.items}: there is no column {name!r}, which {named_by} names; "
                    f"{nearest(name, there)}"
                )

    def left_out_of_items(self) -> dict[str, str]:
        """The catalogue's columns that no text can be made of: name to file and type."""
        return self._table(self._located(interactions=False), interactions=False).left_out

    def _scan(self, files: Mapping[UPath, UPath], *, interactions: bool) -> pl.LazyFrame:
        frame = self._table(files, interactions=interactions).frame
        if not interactions:
            return frame
        names = frame.collect_schema().names()
        return frame.select([name for name in INTERACTION_COLUMNS if name in names])

    def _table(self, files: Mapping[UPath, UPath], *, interactions: bool) -> Table:
        source, mapping = self._source, self.settings.columns
        if not interactions:
            return read_tables(files, source.scan_items, mapping, (ITEM_ID,), interactions=False)
        return read_tables(files, source.scan_interactions, mapping, (USER_ID, ITEM_ID), interactions=True)

    def _parts(self, *, interactions: bool) -> Iterator[tuple[UPath, pl.LazyFrame]]:
        for file, location in self._located(interactions=interactions).items():
            with suppress(EmptyFileError):
                yield file, self._scan({file: location}, interactions=interactions)

    def collect_items(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over `scan_catalogue` or `scan_items`.

        Raises `InputError` that names the file that cannot be read.
        """
        parts = self._parts(interactions=False)
        if self.items_from != "catalogue":
            parts = chain(parts, self._parts(interactions=True))
        return collect(frame, parts)

    def collect_interactions(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query over `scan_interactions`.

        Raises `InputError` that names the file that cannot be read.
        """
        return collect(frame, self._parts(interactions=True))

    def item_batches(self, columns: Sequence[str], batch_rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Pass once over `item_id` and some columns of the rows that have an id, so many rows at a time.

        Raises `InputError` that names the file that cannot be read.
        """
        frame = self.scan_items().drop_nulls(ITEM_ID).select(ITEM_ID, *columns)
        try:
            yield from frame.collect_batches(chunk_size=batch_rows, engine="streaming")
        except UNREADABLE:
            self.collect_items(frame.select(pl.all().null_count()))  # names the file to blame
            raise

    def rows_without_id(self, *, interactions: bool) -> list[str]:
        """The first rows that lack an id, as file and row number from 1; a csv's header is not counted."""
        named = [USER_ID, ITEM_ID] if interactions else [ITEM_ID]
        found: list[str] = []
        for file, frame in self._parts(interactions=interactions):
            lacking = frame.with_row_index(_ROW, 1).filter(pl.any_horizontal(pl.col(named).is_null()))
            rows = lacking.select(_ROW).head(NAMED - len(found)).collect(engine="streaming")
            found += [f"{file}, row {row:,}" for row in rows[_ROW]]
            if len(found) == NAMED:
                break
        return found

    def unused_mappings(self) -> list[str]:
        """Names in `[catalogue.columns]` that no input file has: most often a slip of the pen.

        Raises `InputError` for a file that cannot be read.
        """
        unused, source = set(self.settings.columns), self._source
        for files, scan in (
            (self.item_files(), source.scan_items),
            (self.interaction_files(), source.scan_interactions),
        ):
            for file in files:
                with suppress(EmptyFileError):
                    unused.difference_update(scan(file).collect_schema().names())
        return sorted(unused)

    def overlooked(self, others: Iterable[str]) -> list[UPath]:
        """What lies in the folders that are named, seems to hold data, and is not read.

        Args: others: locations that other settings name.
        """
        tables = [self.settings.items, *self.settings.interactions]
        locations = [self.path(one) for one in tables]
        named = {location_root(self.path(one)) for one in [*tables, self.settings.image_root, *others]}
        named.update(self.item_files(), self.interaction_files())
        found = (path for one in locations for path in overlooked(one, self._source.endings, named))
        return list(dict.fromkeys(found))

    def input_files(self) -> dict[str, UPath]:
        """Every file of the tables, by its location relative to the configuration's folder."""
        return {self._relative_name(file): file for file in [*self.item_files(), *self.interaction_files()]}

    def _relative_name(self, path: UPath) -> str:
        if not is_local(path):
            return str(path)
        return os.path.relpath(path.path, self.base.resolve()).replace(os.sep, "/")


def require_same_id_type(found: pl.DataType, expected: pl.DataType, where: str) -> None:
    """Raise `InputError` where ids are text on one side and numbers on the other."""
    if (found == pl.String) != (expected == pl.String):
        raise InputError(
            f"{where}, column {ITEM_ID}: ids are {found}, the catalogue's are {expected}; "
            "write both as text or both as whole numbers (ids in csv are text)"
        )
