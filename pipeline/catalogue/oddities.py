"""What is odd in columns that can be read: words for nothing, columns without a value, two units in one column."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from pipeline.catalogue.moments import date_numbers, dates_error, require_one_unit, unit_counts
from pipeline.columns import ITEM_ID, TIMESTAMP, USER_ID

WORDS_FOR_NOTHING = (
    "nan",
    "nat",
    "null",
    "none",
    "nil",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "<null>",
    "(null)",
    "\\n",
    "undefined",
    "00000000-0000-0000-0000-000000000000",
)
"""In small letters: what pandas, Spark, databases, spreadsheets and scripts write where there is no value."""
_WORDS, _UNIT, _DATES = "__words ", "__unit ", "__dates"


def words_for_nothing(names: Iterable[str], schema: pl.Schema) -> list[pl.Expr]:
    """For a query of one row: of each text column the words for nothing in it, with their counts."""
    columns = [pl.col(name) for name in names if schema.get(name) == pl.String]
    return [
        column.filter(column.str.strip_chars().str.to_lowercase().is_in(_words_in(column.meta.output_name())))
        .value_counts(sort=True)
        .implode()
        .alias(_WORDS + column.meta.output_name())
        for column in columns
    ]


def _words_in(name: str) -> list[str]:
    """Blanks are not text, but they are an id like any other."""
    return [*WORDS_FOR_NOTHING, *([""] if name in (ITEM_ID, USER_ID) else [])]


def take_words(row: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Take the answers to `words_for_nothing` out of a row: column to word to count, of columns that have any."""
    found: dict[str, dict[str, int]] = {}
    for key in [key for key in row if key.startswith(_WORDS)]:
        name = key.removeprefix(_WORDS)
        if counts := row.pop(key):
            found[name] = {entry[name]: entry["count"] for entry in counts}
    return found


def units(schema: pl.Schema) -> list[pl.Expr]:
    """For a query of one row: how many timestamps are moments of our time in each unit, and whether all are dates.

    Of numbers only: a date such as 9999-12-31, which means no date, is not another unit.
    """
    if TIMESTAMP not in schema or not schema[TIMESTAMP].is_numeric():
        return []
    counts = unit_counts(pl.col(TIMESTAMP))
    all_dates, date = date_numbers(pl.col(TIMESTAMP))
    return [
        *(pl.struct(count=count, example=example).alias(_UNIT + name) for name, (count, example) in counts.items()),
        pl.struct(count=all_dates, example=date).alias(_DATES),
    ]


def require_unit(row: dict[str, Any], where: str) -> None:
    """Take the answers to `units` out of a row; raise `InputError` where numbers are of two units, or dates."""
    dates = row.pop(_DATES, None)
    found = {key.removeprefix(_UNIT): row.pop(key) for key in [key for key in row if key.startswith(_UNIT)]}
    require_one_unit(where, {name: (one["count"], one["example"]) for name, one in found.items()})
    if dates and dates["count"]:
        raise dates_error(where, dates["example"])
