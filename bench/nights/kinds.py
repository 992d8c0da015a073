"""The kinds of fault: what is done to a night, and what is right after it."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import polars as pl

from bench.nights import strikes
from bench.nights.catalogue import NO_PICTURES, Change, Tables
from bench.nights.strikes import Strike
from pipeline.columns import ITEM_ID, USER_ID


class Outcome(StrEnum):
    """What became of a night."""

    PROMOTED = "promoted"
    RETRIED = "promoted at a later try"
    CHECKS = "refused by the checks"
    GATE = "refused by the gate"
    HELD = "published, not promoted: held"
    UNUSABLE = "refused as unusable"
    FAILED = "failed"


Blame = Literal["nothing", "input", "model", "machine", "operator"]
FINISHED = frozenset({Outcome.PROMOTED, Outcome.RETRIED})
WHOLE_NIGHT = ("extract", "prepare", "train", "evaluate", "export", "register", "promote")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault."""

    name: str
    blame: Blame
    right: frozenset[Outcome]
    change: Change | None = None
    """What becomes of the tables before they are exported."""
    half_written: bool = False
    """The export stops in the middle of the interactions."""
    older: bool = False
    """The export is older than the champion's."""
    same_input: bool = False
    """The champion is rolled back, and the night finds the champion's input again."""
    settings: tuple[str, ...] = ()
    strike: Strike | None = None
    """What happens in the middle of the night."""
    moments: tuple[str, ...] = ()
    """The stages in one of which it does."""
    errno: int = errno.EIO
    """Of a disk that fails."""
    cleared: bool = False
    """An operator starts the night again although its exit status is 2: its input has moved."""

    @property
    def spoilt(self) -> bool:
        """Whether what such a night makes must never be champion."""
        return self.blame in ("input", "model", "operator")


HONEST = Kind(name="none", blame="nothing", right=frozenset({Outcome.PROMOTED}))


def _input(name: str, change: Change, *right: Outcome) -> Kind:
    return Kind(name=name, blame="input", right=frozenset(right or {Outcome.CHECKS}), change=change)


def _elsewhere(name: str, image_root: str, right: Outcome) -> Kind:
    settings = (f"catalogue.image_root={image_root}",)
    return Kind(name=name, blame="input", right=frozenset({right}), settings=settings)


def _model(name: str, *settings: str) -> Kind:
    """Of a training from random parameters: one that begins at the champion's keeps them where it finds no better."""
    anew = ("train.warm_start=none", *settings)
    return Kind(name=name, blame="model", right=frozenset({Outcome.GATE, Outcome.UNUSABLE}), settings=anew)


def _machine(name: str, strike: Strike, *moments: str, number: int = errno.EIO, cleared: bool = False) -> Kind:
    return Kind(
        name=name,
        blame="machine",
        right=FINISHED,
        strike=strike,
        moments=moments or WHOLE_NIGHT,
        errno=number,
        cleared=cleared,
    )


def fewer_items(share: float) -> Change:
    """Some of the items are left; interactions are as they were."""

    def change(tables: Tables, rng: np.random.Generator) -> Tables:
        return Tables(_some(tables.items, ITEM_ID, share, rng), tables.interactions)

    return change


def fewer_users(share: float) -> Change:
    """Some of the users are left."""

    def change(tables: Tables, rng: np.random.Generator) -> Tables:
        return Tables(tables.items, _some(tables.interactions, USER_ID, share, rng))

    return change


def _some(table: pl.DataFrame, column: str, share: float, rng: np.random.Generator) -> pl.DataFrame:
    ids = table[column].unique().sort().to_numpy()
    kept = rng.permutation(ids)[: round(share * len(ids))]
    return table.filter(pl.col(column).is_in(kept.tolist()))


def emptied(column: str) -> Change:
    """A column of the items has no values."""

    def change(tables: Tables, _: np.random.Generator) -> Tables:
        empty = pl.lit(None, tables.items.schema[column]).alias(column)
        return Tables(tables.items.with_columns(empty), tables.interactions)

    return change


def renamed(column: str) -> Change:
    """Interactions give each user or item the id of another one."""

    def change(tables: Tables, rng: np.random.Generator) -> Tables:
        ids = tables.interactions[column].unique().sort()
        names = dict(zip(ids.to_list(), rng.permutation(ids.to_numpy()).tolist(), strict=True))
        return Tables(tables.items, tables.interactions.with_columns(pl.col(column).replace_strict(names)))

    return change


def shuffled(tables: Tables, rng: np.random.Generator) -> Tables:
    """The items' column of the interactions is in another order than the users'."""
    items = tables.interactions[ITEM_ID].to_numpy()
    return Tables(tables.items, tables.interactions.with_columns(pl.Series(ITEM_ID, rng.permutation(items))))


def twice(tables: Tables, _: np.random.Generator) -> Tables:
    """Every interaction stands twice."""
    return Tables(tables.items, pl.concat([tables.interactions, tables.interactions]))


KINDS: tuple[Kind, ...] = (
    _input("half of the catalogue", fewer_items(0.5)),
    _input("a quarter of the catalogue", fewer_items(0.25)),
    _input("a quarter of the users missing", fewer_users(0.75)),
    _input("every interaction twice", twice),
    _input("description empty", emptied("description")),
    _input("interactions shuffled", shuffled, Outcome.GATE),
    _input("items' ids exchanged", renamed(ITEM_ID), Outcome.GATE),
    _input("users' ids exchanged", renamed(USER_ID), Outcome.GATE),
    _elsewhere("image_root without pictures", NO_PICTURES, Outcome.CHECKS),
    _elsewhere("image_root gone", "nowhere", Outcome.UNUSABLE),
    Kind(name="export older than the champion's", blame="input", right=frozenset({Outcome.CHECKS}), older=True),
    Kind(name="half-written export", blame="input", right=frozenset({Outcome.UNUSABLE}), half_written=True),
    _model("trained for two epochs", "train.max_epochs=2"),
    _model("learning rate 1e6", "train.learning_rate=1e6"),
    _model("learning rate 1e38", "train.learning_rate=1e38"),
    Kind(name="another seed", blame="nothing", right=frozenset({Outcome.PROMOTED}), settings=("train.seed=1",)),
    _machine("SIGKILL", strikes.kill),
    _machine("store fails for 10 s", strikes.fail_disk),
    _machine("disk full for 10 s", strikes.fail_disk, number=errno.ENOSPC),
    _machine("MLflow's database locked for 20 s", strikes.lock_database, "register", "promote"),
    _machine("a second run of the same id", strikes.run_twice, "extract", "prepare", "train"),
    _machine("input replaced by a newer one", strikes.export_newer, "validate", "extract", "prepare", cleared=True),
    Kind(
        name="input replaced by half of it",
        blame="input",
        right=frozenset({Outcome.CHECKS, Outcome.PROMOTED}),
        strike=strikes.export_half,
        moments=("validate", "extract", "prepare"),
        cleared=True,
    ),
    Kind(name="the same input after rollback", blame="operator", right=frozenset({Outcome.HELD}), same_input=True),
)


def draw(nights: int, kinds: Sequence[Kind], rng: np.random.Generator) -> list[Kind]:
    """One for each night: half of the nights have a fault, as from a deck of cards that is shuffled anew when empty.

    The first two nights have none: a rollback needs two champions.
    """
    drawn = [HONEST] * nights
    deck: list[int] = []
    for place in sorted(rng.permutation(np.arange(2, nights))[: nights // 2]):
        deck = deck or rng.permutation(len(kinds)).tolist()
        drawn[place] = kinds[deck.pop()]
    return drawn
