"""Where two contenders are compared: users and items that both know, and interactions held out from both trainings.

Shapes: U users, I items (both only those in common), P pairs, Q users with held-out pairs.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from model.evaluation import (
    Pairs,
    Ranking,
    Scorer,
    coverage,
    graded_gain,
    metrics_per_user,
    rank_items,
    rank_pairs,
)
from pipeline.columns import ITEM_INDEX, USER_ID, USER_INDEX
from pipeline.dataset.alignment import HELD_OUT, TRAINED_ON, as_text, pairs_among
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.protocol import CUTOFFS
from pipeline.draws import draws
from pipeline.registry.judging.contender import Contender

LIST_LENGTH = max(CUTOFFS)
PAIR = [USER_INDEX, ITEM_INDEX]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Users and items in common, and what is masked and looked for."""

    users: pl.Series
    items: pl.Series
    seen: Pairs
    """Training interactions of both; masked."""
    candidate_I: Tensor | None
    """Items that compete; None: all."""
    now: Pairs | None
    """Held out by the first and not trained on by the second; None where the first one's dataset is gone."""
    then: Pairs | None
    """Held out by the second and not trained on by the first."""


def ground_of(first: Contender, second: Contender, max_users: int) -> Ground:
    """Where `first` and `second` are compared, on at most `max_users` users, drawn by a hash of their ids.

    Where the dataset of one is gone, only the other's held-out pairs are there, and some of them may have been trained
    on by the one: that favours it.
    """
    datasets = [one.dataset for one in (first, second)]
    users = _drawn(_both(first.users, second.users), [held_out_users(one) for one in datasets if one], max_users)
    items = _both(first.items, second.items)
    tables = [None if one is None else pairs_among(one, users, items) for one in datasets]
    trained = [_part(one, TRAINED_ON) for one in tables]
    seen = pl.concat(trained).unique()

    masked = as_pairs(seen, len(users), len(items))
    candidate_I = untrained(masked) if first.cold_items or second.cold_items else None

    def held_out(table: pl.DataFrame | None, other: pl.DataFrame) -> Pairs | None:
        if table is None:
            return None
        pairs = as_pairs(_part(table, HELD_OUT).join(other, on=PAIR, how="anti"), len(users), len(items))
        return pairs if candidate_I is None else pairs.restricted_to(candidate_I)

    return Ground(
        users=users,
        items=items,
        seen=masked,
        candidate_I=candidate_I,
        now=held_out(tables[0], trained[1]),
        then=held_out(tables[1], trained[0]),
    )


def as_pairs(frame: pl.DataFrame, num_users: int, num_items: int) -> Pairs:
    """Columns `user_index` and `item_index` as pairs."""
    user_P, item_P = (torch.from_numpy(frame[name].to_numpy().copy()) for name in PAIR)
    return Pairs(user_P, item_P, num_users, num_items)


def untrained(trained: Pairs) -> Tensor:
    """Items without a training interaction, bool (I,)."""
    return torch.bincount(trained.item_P, minlength=trained.num_items) == 0


def _both(ids: pl.Series, others: pl.Series) -> pl.Series:
    return as_text(ids).filter(as_text(ids).is_in(as_text(others).implode()))


def held_out_users(dataset: Dataset) -> pl.Series:
    """Ids of the users with held-out interactions, in the order of the dataset."""
    rows = dataset.interactions.filter(HELD_OUT)[USER_INDEX].unique().sort()
    return as_text(dataset.users[USER_ID]).gather(rows)


def _drawn(users: pl.Series, having: list[pl.Series], max_users: int) -> pl.Series:
    """Those of the users that have held-out pairs, in their order, at most so many."""
    if not having:
        return users.head(0)
    users = users.filter(users.is_in(pl.concat(having).unique().implode()))
    return drawn(users, max_users)


def drawn(ids: pl.Series, count: int) -> pl.Series:
    """At most so many ids, in their order, the same every night."""
    if len(ids) <= count:
        return ids
    rows = np.argpartition(draws(0, ids), count)[:count]
    return ids.gather(np.sort(rows))


def _part(table: pl.DataFrame | None, part: pl.Expr) -> pl.DataFrame:
    if table is None:
        return pl.DataFrame(schema=dict.fromkeys(PAIR, pl.Int64))
    return table.filter(part).select(PAIR)


@dataclass(frozen=True)
class Measured:
    """What one contender comes to on some pairs, for every user that has some."""

    value_Q: np.ndarray
    """The metric, float64."""
    ranking: Ranking

    def coverage(self, num_items: int) -> float:
        """Share of the items that stand in somebody's list."""
        return coverage(self.ranking, LIST_LENGTH, num_items)


def measure(scorer: Scorer, relevant: Pairs, seen: Pairs, candidate_I: Tensor | None, metric: str) -> Measured:
    """Rank all items for the users with pairs; the masked ones are left out. In blocks, never all scores at once."""
    ranking = rank_items(scorer, relevant.users(), [seen], LIST_LENGTH, candidate_I)
    return Measured(metrics_per_user(ranking, relevant, CUTOFFS)[metric].numpy(), ranking)


def graded(scorer: Scorer, relevant: Pairs, seen: Pairs, candidate_I: Tensor | None, metric: str) -> np.ndarray:
    """Mean graded gain at the metric's cutoff over the pairs of every user that has some, float64 (Q,)."""
    rank_P, count_P = rank_pairs(scorer, relevant, [seen], candidate_I)
    return mean_by_user(graded_gain(rank_P, count_P, int(metric.rpartition("@")[2])), relevant)


def mean_by_user(value_P: Tensor, pairs: Pairs) -> np.ndarray:
    """Mean of some values of pairs for every user that has some, float64 (Q,)."""
    total_U = torch.zeros(pairs.num_users, dtype=torch.float64).index_add_(0, pairs.user_P, value_P)
    users = pairs.users()
    return (total_U[users] / pairs.count_U[users]).numpy()
