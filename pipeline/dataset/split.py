"""Splitting interactions into training, validation and test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from pipeline.columns import ITEM_ID, SPLIT, TEST, TIMESTAMP, TRAIN, USER_ID, VALIDATION
from pipeline.draws import draws
from pipeline.errors import InputError

Strategy = Literal["random", "time", "cold-items", "given", "none"]

_ORDINAL = "__ordinal"
_COUNT = "__count"
_KNOWN = "__known"
_NEW = "__new"


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How held-out interactions are chosen."""

    strategy: Strategy = "random"
    """`random`: for each user. `time`: one global cut. `cold-items`: whole items. `given`: by a column. `none`. The run
    that training begins from (`train.warm_start`), if it has the same `[split]`, was trained on nothing that `random`
    and `cold-items` hold out; so they may hold out less than they are asked to."""
    validation: float = 0.1
    """Share of the interactions (of the items, for `cold-items`) held out for validation."""
    test: float = 0.1
    """The same for test."""
    seed: int = 0
    """Seed of the draws."""

    @property
    def follows(self) -> bool:
        """Whether what is held out depends on what an earlier run was trained on."""
        return self.strategy in ("random", "cold-items")

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must stay below 1, got {self.validation + self.test}")


def split_interactions(
    interactions: pl.DataFrame, config: SplitConfig, trained: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return the interactions with a column `split`; the same rows, seed and `trained` give the same split.

    Args:
        interactions: unique (user_id, item_id) pairs sorted by both.
        trained: pairs that an earlier run was trained on, ids as text. `random` and `cold-items` hold out none of
            them; the other strategies draw nothing and take no notice.

    Raises:
        InputError: `time` without complete timestamps, `given` without a proper column, or nothing left to train on.
    """
    match config.strategy:
        case "random":
            split = _random(interactions, config, trained)
        case "time":
            split = _time(interactions, config)
        case "cold-items":
            split = _cold_items(interactions, config, trained)
        case "given":
            split = _given(interactions)
        case "none":
            split = interactions.with_columns(pl.lit(TRAIN).alias(SPLIT))
    if not (split[SPLIT] == TRAIN).any():
        raise InputError(
            f"split {config.strategy!r} left no interaction for training; lower split.validation and split.test"
        )
    return split


def _random(interactions: pl.DataFrame, config: SplitConfig, trained: pl.DataFrame | None) -> pl.DataFrame:
    """Per user at random: the share rounded down, but one each for users who can spare it.

    A user with one interaction keeps it for training; with two, one goes to test. What stands in `trained` is not held
    out: a user who buys more and is entitled to one more held-out interaction gives a new one, or none.
    """
    known = _among(interactions.select(USER_ID, ITEM_ID), trained)
    draw = _known_last(draws(config.seed, interactions[USER_ID], interactions[ITEM_ID]), known)
    ordinal = interactions.with_columns(pl.Series(_ORDINAL, draw), pl.Series(_KNOWN, known)).with_columns(
        pl.col(_ORDINAL).rank("ordinal").over(USER_ID),
        pl.len().over(USER_ID).cast(pl.Int64).alias(_COUNT),
        (~pl.col(_KNOWN)).sum().over(USER_ID).cast(pl.Int64).alias(_NEW),
    )
    count, spare = pl.col(_COUNT), pl.min_horizontal(pl.col(_COUNT) - 1, _NEW)

    def share(fraction: float, available: pl.Expr) -> pl.Expr:
        if fraction == 0:
            return pl.lit(0, dtype=pl.Int64)
        wanted = pl.max_horizontal((count * fraction + 1e-9).floor().cast(pl.Int64), pl.lit(1, dtype=pl.Int64))
        return pl.min_horizontal(wanted, available)

    num_test = share(config.test, spare)
    num_held = num_test + share(config.validation, spare - num_test)
    split = pl.when(pl.col(_ORDINAL) <= num_test).then(pl.lit(TEST)).when(pl.col(_ORDINAL) <= num_held)
    return ordinal.with_columns(split.then(pl.lit(VALIDATION)).otherwise(pl.lit(TRAIN)).alias(SPLIT)).drop(
        _ORDINAL, _KNOWN, _COUNT, _NEW
    )


def _time(interactions: pl.DataFrame, config: SplitConfig) -> pl.DataFrame:
    """One global cut in time: the latest share is test, the one before it validation; a moment is never divided."""
    if TIMESTAMP not in interactions.columns or interactions[TIMESTAMP].null_count():
        raise InputError(
            f"split 'time' needs a {TIMESTAMP!r} for every interaction; use strategy 'random' or fill the column"
        )
    moments = interactions[TIMESTAMP].sort()
    count = len(moments)
    test_from = moments[min(count - 1, round(count * (1 - config.test)))] if config.test else None
    held_from = moments[min(count - 1, round(count * (1 - config.test - config.validation)))]
    time = pl.col(TIMESTAMP)
    in_test = time >= test_from if test_from is not None else pl.lit(False)
    in_validation = time >= held_from if config.validation else pl.lit(False)
    split = pl.when(in_test).then(pl.lit(TEST)).when(in_validation).then(pl.lit(VALIDATION)).otherwise(pl.lit(TRAIN))
    return interactions.with_columns(split.alias(SPLIT))


def _cold_items(interactions: pl.DataFrame, config: SplitConfig, trained: pl.DataFrame | None) -> pl.DataFrame:
    """Whole items at random, none of `trained`: all interactions of a held-out item are held out."""
    items = interactions[ITEM_ID].unique().sort()
    known = _among(items.to_frame(), trained)
    order = np.argsort(_known_last(draws(config.seed, items), known), kind="stable")
    num_new = len(items) - int(known.sum())
    num_test = min(int(len(items) * config.test), num_new)
    num_validation = min(int(len(items) * config.validation), num_new - num_test)
    label = np.full(len(items), TRAIN, dtype=object)
    label[order[:num_test]] = TEST
    label[order[num_test : num_test + num_validation]] = VALIDATION
    labels = pl.DataFrame({ITEM_ID: items, SPLIT: pl.Series(label.tolist(), dtype=pl.String)})
    return interactions.drop(SPLIT, strict=False).join(labels, on=ITEM_ID, how="left", maintain_order="left")


def _among(ids: pl.DataFrame, trained: pl.DataFrame | None) -> np.ndarray:
    """Which rows of some ids (N) stand in `trained`, whose ids are text: bool (N,)."""
    if trained is None:
        return np.zeros(len(ids), dtype=bool)
    numbered = ids.cast(pl.String).with_row_index(_ORDINAL)
    known = np.zeros(len(ids), dtype=bool)
    known[numbered.join(trained, on=ids.columns, how="semi")[_ORDINAL].to_numpy()] = True
    return known


def _known_last(draw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Draws (N,), uint64, in the same order but with all known ones behind all others."""
    half = draw >> np.uint64(1)
    return np.where(known, half | np.uint64(1 << 63), half)


def _given(interactions: pl.DataFrame) -> pl.DataFrame:
    """As the user's own column says."""
    if SPLIT not in interactions.columns:
        raise InputError(
            f"split 'given' needs a column {SPLIT!r} in the interactions with {TRAIN}, {VALIDATION} or {TEST}"
        )
    if not isinstance(interactions[SPLIT].dtype, (pl.String, pl.Categorical, pl.Enum)):
        raise InputError(
            f"interactions, column {SPLIT!r}: expected {TRAIN}, {VALIDATION} or {TEST} as text, got "
            f"{interactions[SPLIT].dtype}; write the words"
        )
    other = interactions.filter(~pl.col(SPLIT).is_in([TRAIN, VALIDATION, TEST]) | pl.col(SPLIT).is_null())
    if len(other):
        raise InputError(
            f"interactions, column {SPLIT!r}: {len(other)} rows hold other values than {TRAIN}, {VALIDATION} "
            f"or {TEST}, the first {other[SPLIT][0]!r}; rename them or leave the rows out"
        )
    return interactions
