"""Rows of the gate that need no champion: the model against popularity, item-kNN and chance, on its own held-out pairs.

Shapes: U users, I items, P pairs.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from model.baselines.neighbours import item_knn
from model.baselines.popularity import popularity
from model.data import TrainingData
from model.evaluation import InnerProduct, Pairs, Scorer, rank_pairs
from pipeline.columns import ITEM_ID, USER_ID, USER_INDEX
from pipeline.dataset.alignment import HELD_OUT, TRAINED_ON, as_text, rows_of
from pipeline.dataset.dataset import Dataset
from pipeline.registry.gate import Baseline, GateConfig
from pipeline.registry.judging.contender import Contender
from pipeline.registry.judging.ground import Measured, as_pairs, drawn, held_out_users, mean_by_user, measure, untrained
from pipeline.registry.judging.statistics import FEWEST_USERS, mean, relative_difference
from pipeline.release.verdict import NOT_JUDGED, PASSED, REFUSED, Row

NUM_NEIGHBOURS = 50
MOST_ITEMS = 20_000
"""Item-kNN holds items x items: 1.6 GB of float32."""
CHANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class OwnGround:
    """Everything that a candidate knows, by the row numbers of its dataset, and what it comes to there."""

    candidate: Contender
    dataset: Dataset
    relevant: Pairs
    """Held out, validation and test."""
    seen: Pairs
    candidate_I: Tensor | None
    scorer: InnerProduct
    measured: Measured

    def measure(self, scorer: Scorer, metric: str) -> Measured:
        """What another scorer comes to on the same pairs."""
        return measure(scorer, self.relevant, self.seen, self.candidate_I, metric)


def own_ground(candidate: Contender, dataset: Dataset, gate: GateConfig) -> OwnGround:
    """Measure a candidate on what its own dataset holds out."""
    chosen = drawn(held_out_users(dataset), gate.max_users)
    known = np.zeros(len(dataset.users), dtype=bool)
    known[rows_of(chosen, dataset.users[USER_ID])] = True
    held_out = dataset.interactions.filter(HELD_OUT)
    held_out = held_out.filter(pl.Series(known[held_out[USER_INDEX].to_numpy()], dtype=pl.Boolean))
    counts = len(dataset.users), len(dataset.items)
    relevant, seen = as_pairs(held_out, *counts), as_pairs(dataset.interactions.filter(TRAINED_ON), *counts)
    candidate_I = untrained(seen) if candidate.cold_items else None
    scorer = candidate.scorer(as_text(dataset.users[USER_ID]), as_text(dataset.items[ITEM_ID]))
    measured = measure(scorer, relevant, seen, candidate_I, gate.metric)
    return OwnGround(
        candidate=candidate,
        dataset=dataset,
        relevant=relevant,
        seen=seen,
        candidate_I=candidate_I,
        scorer=scorer,
        measured=measured,
    )


def baseline_row(name: Baseline, own: OwnGround, gate: GateConfig) -> Row:
    """The model is not significantly worse than a baseline with the same training interactions."""
    if why := _why_not(name, own):
        return Row(name=name, verdict=NOT_JUDGED, note=why)
    data = own.dataset.training_data()
    other = own.measure(_fit(name, data), gate.metric)
    new_Q, old_Q = own.measured.value_Q, other.value_Q
    note = f"{gate.metric} {new_Q.mean():.4f}, {name} {old_Q.mean():.4f} on the same pairs; {len(new_Q):,} users"
    estimate = relative_difference(new_Q, old_Q, gate.confidence)
    if estimate is None:
        return Row(name=name, verdict=PASSED, note=f"{note}: it finds nothing")
    return Row(
        name=name,
        verdict=REFUSED if estimate.interval[1] < 0 else PASSED,
        figure=estimate.value,
        interval=estimate.interval,
        limit=0,
        margin=estimate.interval[1],
        percent=True,
        note=note,
    )


def _why_not(name: Baseline, own: OwnGround) -> str | None:
    if own.candidate.cold_items:
        return "whole items are held out, which a baseline without content cannot rank"
    if name == "item-knn" and own.scorer.num_items > MOST_ITEMS:
        return f"it holds items x items, which is too much for more than {MOST_ITEMS:,} items"
    return _too_few(len(own.measured.value_Q))


def _too_few(num_users: int) -> str | None:
    return f"{num_users} users with pairs; {FEWEST_USERS} are needed" if num_users < FEWEST_USERS else None


def _fit(name: Baseline, data: TrainingData) -> Scorer:
    return popularity(data) if name == "popularity" else item_knn(data, NUM_NEIGHBOURS)


def new_items_row(own: OwnGround, gate: GateConfig) -> Row:
    """Items that nobody has been trained on, ranked by content, do better than chance among themselves."""
    name = "new items"
    content_I = own.candidate.has_content_I[rows_of(own.dataset.items[ITEM_ID], own.candidate.items)]
    new_I = untrained(own.seen) & torch.from_numpy(content_I)
    pairs = own.relevant.restricted_to(new_I)
    num_new = int(new_I.sum())
    why = "there are none" if num_new < 2 else _too_few(len(pairs.users()))
    if why:
        return Row(name=name, verdict=NOT_JUDGED, note=why)
    estimate = mean(_places(own.scorer, pairs, new_I), gate.confidence)
    assert estimate is not None, "there are enough users"
    return Row(
        name=name,
        verdict=REFUSED if estimate.interval[1] <= CHANCE else PASSED,
        figure=estimate.value,
        interval=estimate.interval,
        limit=CHANCE,
        margin=estimate.interval[1] - CHANCE,
        note=f"share of the other new items that rank below the one a user took, {CHANCE} by chance; "
        f"{estimate.users:,} users, {num_new:,} items without a training interaction",
    )


def _places(scorer: InnerProduct, pairs: Pairs, new_I: Tensor) -> np.ndarray:
    """Mean over a user's pairs of the share of the other new items that score lower, ties half; float64 (Q,)."""
    rank_P, count_P = rank_pairs(scorer, pairs, [], new_I)
    return mean_by_user((count_P - rank_P) / (count_P - 1), pairs)
