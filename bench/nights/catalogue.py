"""The shop: a sample whose interactions, items and users come out night by night."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.columns import ITEM_ID, TIMESTAMP, USER_ID
from pipeline.sample import write_sample

GROWTH = 0.01
ARRIVING = 0.05
"""Share of the items, and of the users, that come in the course of the nights."""
FIRST_MORNING = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 24 * 3600
MOST_AT_FIRST = 0.9
"""Of the rows whose user and item are there: each night needs new ones, however few nights there are."""
MOMENT = "moment"
NO_PICTURES = "no-pictures"
"""A folder in the shop's that is empty."""


@dataclass(frozen=True)
class Tables:
    """What the shop exports."""

    items: pl.DataFrame
    interactions: pl.DataFrame


Change = Callable[[Tables, np.random.Generator], Tables]


@dataclass(frozen=True)
class Growing:
    """Everything that the shop will have in the end, and when each row comes.

    Moments are nights: 3 is the export before night 3, and 3.5 one of half a day later.
    """

    folder: Path
    items: pl.DataFrame
    interactions: pl.DataFrame

    def at(self, moment: float) -> Tables:
        """What the shop has at a moment."""
        return Tables(
            *(table.filter(pl.col(MOMENT) <= moment).drop(MOMENT) for table in (self.items, self.interactions))
        )

    def write(self, tables: Tables) -> None:
        """Export: each file is replaced whole."""
        replace_table(self.folder / "items.parquet", tables.items)
        replace_table(self.folder / "interactions.parquet", tables.interactions)


def replace_table(file: Path, table: pl.DataFrame) -> None:
    """Write a file beside the old one, then in its place."""
    scratch = file.with_suffix(".writing")
    table.write_parquet(scratch)
    scratch.replace(file)


def open_shop(folder: Path, *, items: int, users: int, nights: int, seed: int) -> Growing:
    """Write a sample; of its interactions so many are there before the first night that each night brings 1 % more.

    Late ones are drawn at random from all: they follow the same taste. Of the users and items a few come late.
    """
    write_sample(folder, num_items=items, num_users=users, seed=seed)
    (folder / NO_PICTURES).mkdir(exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    item_table, pool = (pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "interactions"))
    item_at = arrivals(item_table[ITEM_ID], nights, rng)
    user_at = arrivals(pool[USER_ID].unique().sort(), nights, rng)
    earliest = np.maximum(
        pool[ITEM_ID].replace_strict(item_at, return_dtype=pl.Float64).to_numpy(),
        pool[USER_ID].replace_strict(user_at, return_dtype=pl.Float64).to_numpy(),
    )
    moment = reveal(earliest, nights, rng)
    late = pl.from_epoch(pl.Series(FIRST_MORNING.timestamp() + moment * DAY).cast(pl.Int64), time_unit="s")
    known = pool.with_columns(
        pl.Series(MOMENT, moment),
        pl.when(pl.Series(moment > 0))
        .then(late.dt.replace_time_zone("UTC").cast(pool.schema[TIMESTAMP]))
        .otherwise(pl.col(TIMESTAMP))
        .alias(TIMESTAMP),
    )
    arrived = item_table[ITEM_ID].replace_strict(item_at, return_dtype=pl.Float64).alias(MOMENT)
    return Growing(folder, item_table.with_columns(arrived), known)


def arrivals(ids: pl.Series, nights: int, rng: np.random.Generator) -> dict[str, float]:
    """When each comes: nearly all before the first night, the others evenly over the nights."""
    late = rng.permutation(ids.to_numpy())[: round(ARRIVING * len(ids))]
    when = np.floor(np.linspace(1, nights, num=len(late), endpoint=False)) + 1
    return {**dict.fromkeys(ids.to_list(), 0.0), **dict(zip(late.tolist(), when.tolist(), strict=True))}


def reveal(earliest_R: np.ndarray, nights: int, rng: np.random.Generator) -> np.ndarray:
    """The moment of each of R rows: 0 before the first night, beyond the last where it never comes.

    Args: earliest_R: no row comes before its user and its item.
    """
    moment_R = np.full(len(earliest_R), float(nights + 2))
    order = rng.permutation(len(earliest_R))
    first = order[earliest_R[order] == 0]
    shown = min(round(len(order) / (1 + GROWTH) ** (nights + 1)), round(MOST_AT_FIRST * len(first)))
    moment_R[first[:shown]] = 0.0
    for night in range(1, nights + 2):
        waiting = order[(moment_R[order] > nights + 1) & (earliest_R[order] <= night - 1)]
        count = min(len(waiting), round(GROWTH * shown))
        moment_R[waiting[:count]] = night - 1 + np.arange(1, count + 1) / count if count else []
        shown += count
    return moment_R
