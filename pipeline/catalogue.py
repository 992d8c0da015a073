"""The user's catalogue and interactions: where they are, what counts, and the clean tables the pipeline uses."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import polars as pl
from upath import UPath

from pipeline.columns import ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.draws import draw_of
from pipeline.errors import InputError
from pipeline.sources import Format, ItemsFrom, find_source
from pipeline.storage import is_local
from pipeline.tables import collect, find_files, read_tables

if TYPE_CHECKING:
    from pipeline.config import Config

INTERACTION_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, RATING, WEIGHT, SPLIT)
NAMED = 5  # ids named in a message
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
    """Of users with more, so many are kept, drawn by a hash of the ids: the same ones every night."""
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
    """`tables` (parquet, csv, jsonl), or the files of a published data set: `amazon-2014`, `amazon-2023`, `mmrec`."""
    items_from: ItemsFrom | None = None
    """Which items there are: those of the `catalogue`, those that the `interactions` name, or `both`; an item that
    stands in the interactions only has no content. Unset: `catalogue` for tables, `interactions` for Amazon's
    files (as in the paper), `both` for MMRec's."""
    image_root: str = "."
    """Folder that `image_path` is relative to."""
    columns: dict[str, str] = field(default_factory=dict)
    """Their column name to ours (`asin = "item_id"`)."""
    filter: FilterConfig = field(default_factory=FilterConfig)


def read_catalogue(config: "Config") -> pl.LazyFrame:
    """The catalogue as it is, under our column names; ids are text or int64.

    Raises `InputError` for a file that is missing, cannot be read or lacks the column `item_id`.
    """
    return _read(config, _item_files(config), interactions=False)


def read_items(config: "Config") -> pl.LazyFrame:
    """The rows of the items there are (`catalogue.items_from`): the catalogue's, or those that interactions name.

    What interactions name does not depend on the filters; an item that the catalogue lacks has nulls but for its id.

    Raises `InputError` as `read_catalogue` and `read_interactions` do, and where their ids differ in type.
    """
    frame, items_from = read_catalogue(config), _items_from(config)
    if items_from == "catalogue":
        return frame
    interactions = read_interactions(config)
    found, expected = interactions.collect_schema()[ITEM_ID], frame.collect_schema()[ITEM_ID]
    _require_same_id_type(found, expected, ", ".join(config.catalogue.interactions))
    named = interactions.select(pl.col(ITEM_ID).drop_nulls().unique())
    lacking = named.join(frame.select(ITEM_ID), on=ITEM_ID, how="anti")
    rows = frame if items_from == "both" else frame.join(named, on=ITEM_ID, how="semi")
    return pl.concat([rows, lacking], how="diagonal")


def _items_from(config: "Config") -> ItemsFrom:
    return config.catalogue.items_from or find_source(config.catalogue.format).items_from


def read_interactions(config: "Config") -> pl.LazyFrame:
    """The interactions as they are, under our column names; other columns are left out.

    Raises `InputError` for a file that is missing, cannot be read or lacks the column `user_id` or `item_id`.
    """
    return _read(config, _interaction_files(config), interactions=True)


def _read(config: "Config", files: list[UPath], *, interactions: bool) -> pl.LazyFrame:
    source, mapping = find_source(config.catalogue.format), config.catalogue.columns
    if not interactions:
        return read_tables(files, source.scan_items, mapping, (ITEM_ID,), interactions=False)
    frame = read_tables(files, source.scan_interactions, mapping, (USER_ID, ITEM_ID), interactions=True)
    names = frame.collect_schema().names()
    return frame.select([name for name in INTERACTION_COLUMNS if name in names])


def _item_files(config: "Config") -> list[UPath]:
    return find_files(config.path(config.catalogue.items), find_source(config.catalogue.format).endings)


def _interaction_files(config: "Config") -> list[UPath]:
    """Every file once, though two locations may overlap."""
    if not config.catalogue.interactions:
        raise InputError("catalogue.interactions is empty; name at least one file")
    endings = find_source(config.catalogue.format).endings
    found = [file for location in config.catalogue.interactions for file in find_files(config.path(location), endings)]
    return list(dict.fromkeys(found))


def collect_items(config: "Config", frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a query over `read_catalogue` or `read_items`.

    Raises `InputError` that names the file that cannot be read.
    """
    parts = _parts(config, _item_files(config), interactions=False)
    if _items_from(config) != "catalogue":
        parts = chain(parts, _parts(config, _interaction_files(config), interactions=True))
    return collect(frame, parts)


def collect_interactions(config: "Config", frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a query over `read_interactions`.

    Raises `InputError` that names the file that cannot be read.
    """
    return collect(frame, _parts(config, _interaction_files(config), interactions=True))


def _parts(config: "Config", files: list[UPath], *, interactions: bool) -> Iterator[tuple[UPath, pl.LazyFrame]]:
    return ((file, _read(config, [file], interactions=interactions)) for file in files)


def rows_without_id(config: "Config", *, interactions: bool) -> list[str]:
    """The first rows that lack an id, as file and row number from 1; a csv's header is not counted."""
    files = _interaction_files(config) if interactions else _item_files(config)
    named = [USER_ID, ITEM_ID] if interactions else [ITEM_ID]
    found: list[str] = []
    for file, frame in _parts(config, files, interactions=interactions):
        lacking = frame.with_row_index(_ROW, 1).filter(pl.any_horizontal(pl.col(named).is_null()))
        rows = lacking.select(_ROW).head(NAMED - len(found)).collect(engine="streaming")
        found += [f"{file}, row {row:,}" for row in rows[_ROW]]
        if len(found) == NAMED:
            break
    return found


def item_batches(config: "Config", columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Pass once over `item_id` and some columns of the rows that have an id, as many rows at a time as fit easily.

    Raises `InputError` that names the file that cannot be read.
    """
    frame = read_items(config).drop_nulls(ITEM_ID).select(ITEM_ID, *columns)
    try:
        yield from frame.collect_batches(chunk_size=BATCH_ROWS, engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        collect_items(config, frame.select(pl.all().null_count()))  # names the file to blame
        raise


def clean_items(config: "Config", columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The items with one row each, sorted by id (integers by value, text by bytes).

    Rows without an id and exact repetitions are dropped. Of the columns only `item_id` and those of `columns` that
    are there are read, all without `columns`: texts can be larger than memory.

    Raises:
        InputError: no item is left, or rows of the same id differ.
    """
    rows = read_items(config).drop_nulls(ITEM_ID)
    there = rows.collect_schema().names()
    asked = there if columns is None else [name for name in there if name in (ITEM_ID, *columns)]
    items = collect_items(config, rows.select(asked))
    if items.is_empty():
        raise InputError(f"{config.catalogue.items}: no row has an {ITEM_ID}; give at least one")
    repeated = items.filter(pl.col(ITEM_ID).is_duplicated()).select(ITEM_ID).unique()
    if len(repeated):
        _refuse_differing(config, collect_items(config, rows.join(repeated.lazy(), on=ITEM_ID, how="semi")))
        items = items.unique(ITEM_ID, keep="any")
    return items.sort(ITEM_ID)


def _refuse_differing(config: "Config", repeated: pl.DataFrame) -> None:
    """Raise `InputError` unless all rows of an id are the same."""
    differing = repeated.unique().filter(pl.col(ITEM_ID).is_duplicated())[ITEM_ID].unique().sort()
    if len(differing):
        raise InputError(
            f"{config.catalogue.items}, column {ITEM_ID}: {len(differing)} ids stand on several rows that differ, "
            f"such as {', '.join(map(repr, differing[:NAMED].to_list()))}; keep one row each"
        )


def clean_interactions(config: "Config", items: pl.DataFrame) -> pl.DataFrame:
    """Unique (user_id, item_id) pairs of known items after the filters, sorted by both; any input order gives the same.

    Of a repeated pair the earliest stays (without timestamps, the smallest row), so that nothing of the future
    enters training.

    Raises:
        InputError: ids of another type than the catalogue's, a filter without its column, a weight that is no
            positive number, or nothing is left.
    """
    steps = interaction_steps(config, items)
    interactions = collect_interactions(config, steps[-1][1]).sort(USER_ID, ITEM_ID)
    require_weights(config, interactions)
    if interactions.is_empty():
        require_interactions(config, interactions, losses(config, steps))
    return interactions


def require_interactions(config: "Config", interactions: pl.DataFrame, dropped: dict[str, int]) -> None:
    """Raise `InputError` when nothing is left, telling where it went."""
    if interactions.is_empty():
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dropped.items() if count)
        raise InputError(
            f"{', '.join(config.catalogue.interactions)}: no interaction is left; dropped were "
            f"{told or 'none, for there were none'}; check the ids and catalogue.filter"
        )


def require_weights(config: "Config", interactions: pl.DataFrame) -> None:
    """Raise `InputError` for a weight that is not above 0 and finite; an empty one counts as 1."""
    if WEIGHT not in interactions.columns:
        return
    wrong = interactions.filter(~(pl.col(WEIGHT).is_finite() & (pl.col(WEIGHT) > 0)))
    if len(wrong):
        user, item, weight = wrong.select(USER_ID, ITEM_ID, WEIGHT).row(0)
        raise InputError(
            f"{', '.join(config.catalogue.interactions)}, column {WEIGHT}: {len(wrong)} weights are not above 0 and "
            f"finite, such as {weight} of user {user!r} and item {item!r}; correct them, or leave these rows out"
        )


def interaction_steps(config: "Config", items: pl.DataFrame) -> list[tuple[str, pl.LazyFrame]]:
    """The cleaning, step by step: what a step drops, and what is left after it. The first is the raw table.

    Raises `InputError` as `clean_interactions` does, except for an empty result.
    """
    rules = config.catalogue.filter
    where = ", ".join(config.catalogue.interactions)
    raw = read_interactions(config)
    schema = raw.collect_schema()
    _require_same_id_type(schema[ITEM_ID], items.schema[ITEM_ID], where)
    complete = raw.drop_nulls([USER_ID, ITEM_ID])
    frame = complete.join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="semi")
    steps = [("rows", raw), ("without_id", complete), ("of_unknown_items", frame)]
    if rules.user_share < 1:
        frame = frame.filter(draw_of(0, USER_ID) < int(rules.user_share * 2**64))
        steps.append(("of_users_left_out", frame))
    if rules.min_rating is not None:
        _require_column(RATING, schema, where, "min_rating")
        frame = frame.filter(pl.col(RATING) >= rules.min_rating)
        steps.append(("below_min_rating", frame))
    order = [USER_ID, ITEM_ID, *(name for name in INTERACTION_COLUMNS[2:] if name in schema)]
    frame = frame.sort(order, nulls_last=True).unique([USER_ID, ITEM_ID], keep="first", maintain_order=True)
    steps.append(("repeated_pairs", frame))
    if rules.max_user_interactions is not None:
        place = draw_of(0, USER_ID, ITEM_ID).rank("ordinal").over(USER_ID)
        frame = frame.filter(place <= rules.max_user_interactions)
        steps.append(("beyond_max_of_user", frame))
    for name, column, minimum in (
        ("of_light_users", USER_ID, rules.min_user_interactions),
        ("of_rare_items", ITEM_ID, rules.min_item_interactions),
    ):
        if minimum > 1:
            frame = frame.filter(pl.len().over(column) >= minimum)
            steps.append((name, frame))
    return steps


def losses(config: "Config", steps: list[tuple[str, pl.LazyFrame]]) -> dict[str, int]:
    """How many rows each step dropped; the raw table's own step is left out."""
    lengths = pl.concat(frame.select(pl.len()) for _, frame in steps)
    counts = collect_interactions(config, lengths).to_series().to_list()
    names = [name for name, _ in steps[1:]]
    return {name: before - after for name, before, after in zip(names, counts[:-1], counts[1:], strict=True)}


def _require_column(name: str, schema: pl.Schema, where: str, rule: str) -> None:
    if name not in schema:
        raise InputError(f"{where}: catalogue.filter.{rule} needs a column {name!r}; map it or unset the filter")


def _require_same_id_type(found: pl.DataType, expected: pl.DataType, where: str) -> None:
    if (found == pl.String) != (expected == pl.String):
        raise InputError(
            f"{where}, column {ITEM_ID}: ids are {found}, the catalogue's are {expected}; "
            "write both as text or both as whole numbers (ids in csv are text)"
        )


def unused_mappings(config: "Config") -> list[str]:
    """Names in `[catalogue.columns]` that no input file has: most often a slip of the pen.

    Raises `InputError` for a file that cannot be read.
    """
    unused, source = set(config.catalogue.columns), find_source(config.catalogue.format)
    for files, scan in (
        (_item_files(config), source.scan_items),
        (_interaction_files(config), source.scan_interactions),
    ):
        unused.difference_update(*(scan(file).collect_schema().names() for file in files if unused))
    return sorted(unused)


def _input_files(config: "Config") -> list[UPath]:
    return [*_item_files(config), *_interaction_files(config)]


def input_digest(config: "Config") -> dict[str, str]:
    """sha256 of every input file, by its location relative to the configuration's folder."""
    return {_relative_name(config, file): _sha256(file) for file in _input_files(config)}


def _relative_name(config: "Config", path: UPath) -> str:
    if not is_local(path):
        return str(path)
    return os.path.relpath(path.path, config.base.resolve()).replace(os.sep, "/")


def _sha256(path: UPath) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
