"""Timestamps as numbers or as moments in UTC, and which numbers are of two units, or dates."""

import polars as pl
from upath import UPath

from pipeline.catalogue.blame import UNREADABLE, first_line
from pipeline.columns import TIMESTAMP
from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing

_MOMENT = pl.Datetime("us", "UTC")
_YEAR_FIRST = r"^\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]|\s*$)"
_UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
"""The least number of each that is a moment of our time (1973 on); the next unit's begins a factor of 1000 above."""
_SPAN = 100
"""Up to how many times that number: the year 2286."""


def typed_timestamp(frame: pl.LazyFrame, path: UPath, kind: pl.DataType) -> pl.Expr:
    """The column `timestamp` as int64, float64 or moments in UTC; a moment without a time zone is taken as UTC.

    Raises `InputError` for a column of another type, or whose texts are neither.
    """
    column = pl.col(TIMESTAMP)
    if isinstance(kind, pl.Datetime):
        return column.dt.convert_time_zone("UTC").cast(_MOMENT) if kind.time_zone else _as_utc(column)
    if kind == pl.Date:
        return _as_utc(column)
    if kind == pl.String:
        return _parsed(frame, path)
    if not (kind.is_numeric() or kind == pl.Null):
        raise InputError(f"{path}, column {TIMESTAMP}: values are {kind}; write moments or seconds since 1970")
    return _finite(column.cast(pl.Int64 if kind.is_integer() else pl.Float64))


def _finite(column: pl.Expr) -> pl.Expr:
    return pl.when(column.is_finite()).then(column)


def _as_utc(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def stripped(name: str) -> pl.Expr:
    """A column of text without the blanks around it; what is blank is null."""
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def _parsed(frame: pl.LazyFrame, path: UPath) -> pl.Expr:
    """Text as numbers or as moments, whichever the first value is; moments have the year first."""
    column = stripped(TIMESTAMP)
    odd = column.filter(~column.str.contains(_YEAR_FIRST))
    part = column.filter(column.cast(pl.Int64, strict=False).is_null() & column.is_not_null())
    query = [column.drop_nulls().first(), odd.first().alias("odd"), part.first().alias("part")]
    try:
        first, other, no_integer = frame.select(query).collect().row(0)
    except UNREADABLE as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {first_line(error)}; write it anew, or fetch it again") from error
    value = pl.Series([first], dtype=pl.String)
    if first is None or value.cast(pl.Float64, strict=False).null_count() == 0:
        return _finite(column.cast(pl.Int64 if no_integer is None else pl.Float64))
    if other is not None:
        raise InputError(
            f"{path}, column {TIMESTAMP}: {other!r} is not a moment with the year first (else day and month cannot "
            "be told apart); write 2025-12-31T23:59:59 or seconds since 1970"
        )
    try:
        pl.select(_as_moments(pl.lit(value)))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"{path}, column {TIMESTAMP}: {first!r} is not a moment; write 2025-12-31T23:59:59 or seconds since 1970"
        ) from error
    return _as_moments(column)


def _as_moments(column: pl.Expr) -> pl.Expr:
    """Text as moments; BigQuery writes `UTC` behind them."""
    return column.str.replace(r"\s*UTC$", "Z").str.to_datetime(time_unit="us", time_zone="UTC")


def date_numbers(numbers: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Whether there are numbers and all are dates, as 20250131 or 20250131235959, and one of them."""
    whole = numbers.cast(pl.Int64, strict=False)
    timed = whole >= 10**13
    day = pl.when(timed).then(whole // 10**6).otherwise(whole)
    time = pl.when(timed).then(whole % 10**6).otherwise(0)
    year, month = day // 10_000, day // 100 % 100
    dated = year.is_between(1900, 2199) & month.is_between(1, 12) & (day % 100).is_between(1, 31)
    of_day = (time // 10_000 < 24) & (time // 100 % 100 < 60) & (time % 100 < 60)
    return (dated & of_day).all() & numbers.is_not_null().any(), whole.drop_nulls().first()


def dates_error(where: str, example: object) -> InputError:
    """What is wrong with numbers that are dates (`date_numbers`): as seconds they all lie in 1970."""
    return InputError(
        f"{where}, column {TIMESTAMP}: {example} and all others are dates without separators, which would be read as "
        "seconds since 1970; write 2025-12-31, or 2025-12-31T23:59:59"
    )


def unit_counts(numbers: pl.Expr) -> dict[str, tuple[pl.Expr, pl.Expr]]:
    """How many values are moments of our time in each unit, and one of them."""
    size = numbers.abs()
    within = {name: (size >= least) & (size < least * _SPAN) for name, least in _UNITS.items()}
    return {name: (mask.sum(), numbers.filter(mask).first()) for name, mask in within.items()}


def require_one_unit(where: str, found: dict[str, tuple[int, object]]) -> None:
    """Raise `InputError` where numbers are moments of our time in two units.

    Args:
        where: the files, for the message.
        found: number and example by unit, as `unit_counts` gives them.
    """
    units = {name: (count, example) for name, (count, example) in found.items() if count}
    if len(units) < 2:
        return
    told = " and ".join(f"{count:,} in {name} (such as {example})" for name, (count, example) in units.items())
    raise InputError(f"{where}, column {TIMESTAMP}: {told}; write all in one unit")
