"""A table's columns as ours. The one place where a type that a file has becomes a type that the program knows.

- Ids: text stays text, whole numbers become int64; an empty text is not an id.
- Ratings and weights: float64, NaN is null. Timestamps: `pipeline.catalogue.moments`.
- `image_path` and `split`: text.
- All other columns are content: text, numbers, truth values, dates, or lists of those. Lists, nested or of fixed size,
  become lists of text.

Bytes, records, maps and the like are none of these. A column of them is left out, and the reason is kept for
messages: a column that is not used does no harm.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import polars as pl
from upath import UPath

from pipeline.catalogue.blame import UNREADABLE, first_line
from pipeline.catalogue.moments import stripped, typed_timestamp
from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing

ID_COLUMNS = (ITEM_ID, USER_ID)
NUMBER_COLUMNS = (RATING, WEIGHT)
TEXT_COLUMNS = (IMAGE_PATH, SPLIT)
TEXTS = pl.List(pl.String)
_MOST_DIGITS = 38
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Table:
    """A table under our column names, with our types."""

    frame: pl.LazyFrame
    left_out: dict[str, str] = field(default_factory=dict)
    """Columns that nothing can be made of: name to file and type."""


def typed_table(frame: pl.LazyFrame, path: UPath, *, interactions: bool) -> Table:
    """The table of one file.

    Raises `InputError` that names file, column and type where ids, or the numbers and moments of interactions, are of a
    type that they cannot have.
    """
    columns, left_out = [], {}
    for name, kind in frame.collect_schema().items():
        typed = _typed(frame, path, name, kind, interactions=interactions)
        if typed is None and interactions and name == SPLIT:
            raise InputError(f"{path}, column {name}: values are {kind}; write train, validation or test")
        if typed is None:
            left_out[name] = f"{path}, column {name}: values are {kind}"
        else:
            columns.append(typed.alias(name))
    return Table(frame.select(columns), left_out)


def _typed(frame: pl.LazyFrame, path: UPath, name: str, kind: pl.DataType, *, interactions: bool) -> pl.Expr | None:
    if name in ID_COLUMNS:
        return _typed_id(frame, path, name, kind)
    if interactions and name in NUMBER_COLUMNS:
        return _typed_number(path, name, kind)
    if interactions and name == TIMESTAMP:
        return typed_timestamp(frame, path, kind)
    if name in TEXT_COLUMNS:
        return pl.col(name).cast(pl.String) if _is_text(kind) or kind == pl.Null else None
    return _typed_content(name, kind)


def _is_text(kind: pl.DataType) -> bool:
    return kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum)


def _typed_id(frame: pl.LazyFrame, path: UPath, name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.Null:
        return column
    if _is_text(kind):
        text = column.cast(pl.String)
        return pl.when(text != "").then(text)
    decimal = isinstance(kind, pl.Decimal) and kind.scale == 0
    if not (kind.is_integer() or decimal):
        raise InputError(f"{path}, column {name}: ids are {kind}; write them as text or whole numbers")
    if decimal or kind in (pl.UInt64, pl.Int128):
        _require_int64(frame, path, name, kind)
    return column.cast(pl.Int64)


def _require_int64(frame: pl.LazyFrame, path: UPath, name: str, kind: pl.DataType) -> None:
    try:
        largest = frame.select(pl.col(name).max()).collect(engine="streaming").item()
    except UNREADABLE as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {first_line(error)}; write it anew, or fetch it again") from error
    if largest is not None and largest > _LARGEST_ID:
        raise InputError(
            f"{path}, column {name}: ids are {kind}, such as {largest}, above {_LARGEST_ID}; write them as text"
        )


def _typed_number(path: UPath, name: str, kind: pl.DataType) -> pl.Expr:
    if not (kind.is_numeric() or kind in (pl.String, pl.Null)):
        raise InputError(f"{path}, column {name}: values are {kind}; write numbers")
    column = stripped(name) if kind == pl.String else pl.col(name)
    return column.cast(pl.Float64).fill_nan(None)


def _typed_content(name: str, kind: pl.DataType) -> pl.Expr | None:
    column = pl.col(name)
    if isinstance(kind, pl.List | pl.Array):
        return _leaves(column, kind)
    if _is_text(kind):
        return column.cast(pl.String)
    if isinstance(kind, pl.Decimal) and (kind.precision or 0) > _MOST_DIGITS:
        return None
    if kind.is_float():
        return column.fill_nan(None)
    plain = kind.is_numeric() or kind in (pl.Boolean, pl.Date, pl.Time, pl.Null) or isinstance(kind, pl.Datetime)
    return column if plain else None


def _leaves(column: pl.Expr, kind: pl.List | pl.Array) -> pl.Expr | None:
    """The texts in a list, whatever lists are in it, in their order."""
    depth, inner = 0, kind.inner
    while isinstance(inner, pl.List | pl.Array):
        depth, inner = depth + 1, inner.inner
    if not isinstance(inner, pl.DataType) or _typed_content("", inner) is None:
        return None
    nested = inner
    for _ in range(depth + 1):
        nested = pl.List(nested)
    column = column.cast(nested)
    for _ in range(depth):
        column = column.list.eval(pl.element().explode())
    return column.list.eval(_typed_content_of(inner)).cast(TEXTS).list.drop_nulls()


def _typed_content_of(kind: pl.DataType) -> pl.Expr:
    element = pl.element()
    return element.fill_nan(None) if kind.is_float() else element


def stack(tables: Sequence[Table]) -> Table:
    """Tables one below the other; a column that one of them cannot use is left out of all."""
    left_out = {name: told for table in reversed(tables) for name, told in table.left_out.items()}
    return Table(stack_frames([table.frame for table in tables], leave=left_out), left_out)


def stack_frames(frames: Sequence[pl.LazyFrame], leave: Collection[str] = ()) -> pl.LazyFrame:
    """Frames one below the other; a column that some lack is null there.

    Where types differ, numbers become common numbers, anything beside lists of text such a list, anything beside
    records nothing, and anything else text.
    """
    schemas = [frame.collect_schema() for frame in frames]
    kinds: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, kind in schema.items():
            kinds[name] = _common(kinds.get(name, pl.Null()), kind)
    selected = [
        frame.select(_as(name, kind, kinds[name]) for name, kind in schema.items() if name not in leave)
        for frame, schema in zip(frames, schemas, strict=True)
    ]
    return pl.concat(selected, how="diagonal_relaxed")


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    kinds = (one, other)
    record = next((kind for kind in kinds if isinstance(kind, pl.Struct)), None)
    if record is not None or TEXTS in kinds:
        return record or TEXTS
    if any(kind in (pl.UInt64, pl.Int128) or not (kind.is_integer() or kind.is_float()) for kind in kinds):
        return pl.String()
    return pl.Int64() if all(kind.is_integer() for kind in kinds) else pl.Float64()


def _as(name: str, kind: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == wanted:
        return column
    if isinstance(wanted, pl.Struct):
        return pl.lit(None, wanted).alias(name)
    if wanted == TEXTS and kind != pl.Null:
        return pl.when(column.is_not_null()).then(pl.concat_list(column.cast(pl.String))).alias(name)
    return column.cast(wanted)
