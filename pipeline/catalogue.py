"""Reading the user's catalogue and interactions: parquet, csv or jsonl(.gz), lazily, ids kept exactly."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl
from upath import UPath

from pipeline.columns import ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.errors import InputError
from pipeline.storage import is_local

if TYPE_CHECKING:
    from pipeline.config import Config

FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
}
ID_COLUMNS = (ITEM_ID, USER_ID)
INTERACTION_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, RATING, WEIGHT, SPLIT)
NAMED = 5  # ids named in a message


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which interactions count; applied in this order, one pass each."""

    min_rating: float | None = None
    """Interactions rated below this are left out; needs a rating column."""
    min_user_interactions: int = 0
    """Users with fewer interactions are left out."""
    min_item_interactions: int = 0
    """Interactions of items with fewer are left out; the items themselves stay in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class CatalogueConfig:
    """Where the catalogue and the interactions are."""

    items: str
    """File, folder or glob; local (relative to the configuration file) or `s3://`."""
    interactions: tuple[str, ...]
    """The same, one or more."""
    image_root: str = "."
    """Folder that `image_path` is relative to."""
    columns: dict[str, str] = field(default_factory=dict)
    """Their column name to ours (`asin = "item_id"`)."""
    filter: FilterConfig = field(default_factory=FilterConfig)


def read_items(config: "Config") -> pl.LazyFrame:
    """The catalogue as it is, under our column names, ids normalised to string or integer."""
    return _read(config, [config.catalogue.items], (ITEM_ID,))


def read_interactions(config: "Config") -> pl.LazyFrame:
    """The interactions as they are, under our column names; other columns are left out."""
    if not config.catalogue.interactions:
        raise InputError("catalogue.interactions is empty; name at least one file")
    frame = _read(config, config.catalogue.interactions, (USER_ID, ITEM_ID))
    return frame.select([name for name in frame.collect_schema().names() if name in INTERACTION_COLUMNS])


def clean_items(config: "Config") -> pl.DataFrame:
    """The catalogue with one row an item, sorted by id (integers by value, strings by bytes).

    Rows without an id and exact repetitions are dropped.

    Raises:
        InputError: no item is left, or rows of the same id differ.
    """
    items = _collect(read_items(config).drop_nulls(ITEM_ID), config.catalogue.items)
    if items.is_empty():
        raise InputError(f"{config.catalogue.items}: no item has an {ITEM_ID}; give at least one")
    items = _drop_repetitions(items)
    repeated = items.filter(pl.col(ITEM_ID).is_duplicated())[ITEM_ID].unique().sort()
    if len(repeated):
        raise InputError(
            f"{config.catalogue.items}, column {ITEM_ID}: {len(repeated)} ids stand on several rows that differ, "
            f"such as {', '.join(map(repr, repeated[:NAMED].to_list()))}; keep one row each"
        )
    return items.sort(ITEM_ID)


def _drop_repetitions(items: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of rows that agree in every column; lists count by their elements."""
    first = items.select(pl.struct(pl.all()).hash().is_first_distinct())
    return items.filter(first.to_series())


def clean_interactions(config: "Config", items: pl.DataFrame) -> pl.DataFrame:
    """Unique (user_id, item_id) pairs of known items after the filters, sorted by both; any input order gives the same.

    Of a repeated pair the earliest stays (without timestamps, the smallest row), so that nothing of the future
    enters training.

    Raises:
        InputError: ids of another type than the catalogue's, a filter without its column, or nothing is left.
    """
    rules = config.catalogue.filter
    where = ", ".join(config.catalogue.interactions)
    frame = read_interactions(config)
    schema = frame.collect_schema()
    _same_id_type(schema[ITEM_ID], items.schema[ITEM_ID], where)
    frame = frame.drop_nulls([USER_ID, ITEM_ID]).join(items.lazy().select(ITEM_ID), on=ITEM_ID, how="semi")
    if rules.min_rating is not None:
        if RATING not in schema:
            raise InputError(f"{where}: catalogue.filter.min_rating needs a column {RATING!r}; map it or unset the filter")
        frame = frame.filter(pl.col(RATING) >= rules.min_rating)
    interactions = _collect(frame, where)
    order = [USER_ID, ITEM_ID, *(name for name in INTERACTION_COLUMNS[2:] if name in schema)]
    interactions = interactions.sort(order, nulls_last=True).unique([USER_ID, ITEM_ID], keep="first", maintain_order=True)
    for column, minimum in ((USER_ID, rules.min_user_interactions), (ITEM_ID, rules.min_item_interactions)):
        interactions = interactions.filter(pl.len().over(column) >= minimum)
    if interactions.is_empty():
        raise InputError(f"{where}: no interaction is left after the filters; `microrec validate` counts what was dropped")
    return interactions


def _same_id_type(found: pl.DataType, expected: pl.DataType, where: str) -> None:
    if (found == pl.String) != (expected == pl.String):
        raise InputError(
            f"{where}, column {ITEM_ID}: ids are {found}, the catalogue's are {expected}; "
            "write both as text or both as integers (ids in csv are text)"
        )


def input_digest(config: "Config") -> dict[str, str]:
    """sha256 of every input file, by its location relative to the configuration."""
    digests = {}
    for location in (config.catalogue.items, *config.catalogue.interactions):
        for path in input_files(config, location):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            name = str(path).removeprefix(f"{config.base}/")
            digests[name] = digest.hexdigest()
    return digests


def input_files(config: "Config", location: str) -> list[UPath]:
    """The files a location of the configuration stands for, sorted.

    Raises `InputError` when there is none.
    """
    path = config.path(location)
    if any(character in location for character in "*?["):
        prefix = f"{path.protocol}://" if not is_local(path) else ""
        found = [UPath(f"{prefix}{name}") for name in path.fs.glob(path.path)]
    elif path.is_dir():
        found = [file for file in path.iterdir() if file.is_file()]
    elif path.exists():
        return [path]
    else:
        raise InputError(f"{path} does not exist; catalogue paths are relative to the configuration file's folder")
    found = sorted((file for file in found if _format_of(file) and not file.name.startswith((".", "_"))), key=str)
    if not found:
        raise InputError(f"{path} holds no file with one of the endings {', '.join(FORMATS)}")
    return found


def _format_of(path: UPath) -> str | None:
    return next((kind for ending, kind in FORMATS.items() if path.name.endswith(ending)), None)


def _read(config: "Config", locations: Sequence[str], required: Sequence[str]) -> pl.LazyFrame:
    files = [file for location in locations for file in input_files(config, location)]
    frames = [_normalise_ids(_rename(_scan(file, config), file, config, required), file) for file in files]
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
        frame.collect_schema()
    except (pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError) as error:
        raise InputError(f"{', '.join(locations)}: the files' columns do not fit together ({error})") from error
    return frame


def _scan(path: UPath, config: "Config") -> pl.LazyFrame:
    kind = _format_of(path)
    if kind is None:
        raise InputError(f"{path}: unknown ending; use one of {', '.join(FORMATS)}")
    source = str(path)
    if kind == "parquet":
        return pl.scan_parquet(source)
    if kind == "jsonl":
        return pl.scan_ndjson(source, infer_schema_length=None)
    # Text has no types: an id such as 007 is kept as it is written.
    theirs = [name for name, ours in config.catalogue.columns.items() if ours in ID_COLUMNS]
    return pl.scan_csv(source, schema_overrides=dict.fromkeys([*ID_COLUMNS, *theirs], pl.String), infer_schema_length=10_000)


def _rename(frame: pl.LazyFrame, path: UPath, config: "Config", required: Sequence[str]) -> pl.LazyFrame:
    names = _column_names(frame, path)
    mapping = config.catalogue.columns
    for theirs, ours in mapping.items():
        if theirs in INTERACTION_COLUMNS and ours not in INTERACTION_COLUMNS:
            raise InputError(f'catalogue.columns: write {ours} = "{theirs}" (their name = ours), not the reverse')
    frame = frame.rename({theirs: ours for theirs, ours in mapping.items() if theirs in names})
    names = [mapping.get(name, name) for name in names]
    for name in required:
        if name not in names:
            raise InputError(
                f"{path}: there is no column {name!r}, only {', '.join(names)}; "
                f'map yours with [catalogue.columns] THEIRS = "{name}"'
            )
    return frame


def _column_names(frame: pl.LazyFrame, path: UPath) -> list[str]:
    try:
        return frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _normalise_ids(frame: pl.LazyFrame, path: UPath) -> pl.LazyFrame:
    schema = frame.collect_schema()
    for name in ID_COLUMNS:
        kind = schema.get(name)
        if kind is None or kind == pl.String:
            continue
        if kind in (pl.Categorical, pl.Enum) or isinstance(kind, pl.Categorical | pl.Enum) or kind == pl.Null:
            frame = frame.with_columns(pl.col(name).cast(pl.String))
        elif kind.is_integer():
            frame = frame.with_columns(pl.col(name).cast(pl.Int64))
        else:
            raise InputError(f"{path}, column {name}: ids are {kind}; write them as text or integers")
    return frame


def _collect(frame: pl.LazyFrame, where: str) -> pl.DataFrame:
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{where} cannot be read: {error}") from error
