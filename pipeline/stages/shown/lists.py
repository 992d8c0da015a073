"""Shoppers with their history and list, and what all lists rest on. Shapes: U users, I items, K places, D dimension."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from model.evaluation import InnerProduct, Pairs, rank_items
from pipeline.columns import ITEM_ID, TEST, TRAIN, USER_ID, VALIDATION
from pipeline.dataset.dataset import Dataset
from pipeline.release.report import Shopper, Suggestion
from pipeline.release.rotations import Rotations
from pipeline.run import Run
from pipeline.stages import TRAIN as TRAINING
from pipeline.stages.align import ITEM_VECTORS, USERS
from pipeline.stages.score_parts import ScoreParts, score_parts

SHOPPERS, HISTORY, PLACES = 4, 8, 10
LISTS = 200
"""Whose scores are taken apart."""


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """Of the users looked at; -1: no item is left."""

    user_Q: np.ndarray
    item_QK: np.ndarray


def shoppers_and_parts(
    run: Run, dataset: Dataset, vectors: dict[str, np.ndarray], rotations: Rotations
) -> tuple[list[Shopper], dict[str, float], int]:
    """Some shoppers, the share of all scores by where it comes from, and of how many lists that is.

    Users are those with held-out purchases, spread evenly over the length of their history; what they have in training
    and validation is left out of their lists, as `evaluate` does.

    Args:
        vectors: as the release has them.
        rotations: of the release.
    """
    chosen_Q = _spread(dataset, LISTS)
    if not len(chosen_Q):
        return [], {}, 0
    lists = _rank(dataset, vectors, chosen_Q)
    row_P = np.unique(lists.item_QK[lists.item_QK >= 0])
    training = run.require(TRAINING)
    made = score_parts(run, dataset, training, run.config.model, rotations, row_P)
    told = [_told(made, vectors, row_P, user, item_K) for user, item_K in zip(lists.user_Q, lists.item_QK, strict=True)]
    shown = np.unique(np.linspace(0, len(chosen_Q) - 1, min(SHOPPERS, len(chosen_Q))).astype(int))
    shoppers = [_shopper(dataset, int(chosen_Q[place]), told[place]) for place in shown]
    return shoppers, _shares(told), len(told)


_Told = dict[int, dict[str, float]]
"""Row of an item, in the order of a list, to the parts of its score."""


def _told(made: ScoreParts, vectors: dict[str, np.ndarray], row_P: np.ndarray, user: int, item_K: np.ndarray) -> _Told:
    rows = item_K[item_K >= 0]
    user_D = vectors[USERS][user]
    parts = made.of(user_D, vectors[ITEM_VECTORS][rows] @ user_D, np.searchsorted(row_P, rows).tolist())
    return dict(zip(rows.tolist(), parts, strict=True))


def _spread(dataset: Dataset, most: int) -> np.ndarray:
    """Users with test interactions, by the length of their history, at most so many."""
    users = np.unique(dataset.pairs(TEST)[0].numpy())
    length_U = np.bincount(dataset.pairs(TRAIN)[0].numpy(), minlength=len(dataset.users))
    ordered = users[np.argsort(length_U[users], kind="stable")]
    chosen: np.ndarray = ordered[np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int))]
    return chosen


def _rank(dataset: Dataset, vectors: dict[str, np.ndarray], user_Q: np.ndarray) -> _Lists:
    counts = len(dataset.users), len(dataset.items)
    seen = [Pairs(*dataset.pairs(part), *counts) for part in (TRAIN, VALIDATION)]
    user_UD, item_ID = (torch.from_numpy(np.ascontiguousarray(vectors[name])) for name in (USERS, ITEM_VECTORS))
    ranking = rank_items(InnerProduct(user_UD, item_ID), torch.from_numpy(user_Q), seen, PLACES)
    return _Lists(user_Q=user_Q, item_QK=ranking.item_QK.numpy())


def _shopper(dataset: Dataset, user: int, told: _Told) -> Shopper:
    ids = dataset.items[ITEM_ID]
    history = [item for part in (TRAIN, VALIDATION) for item in _items_of(dataset, part, user)]
    taken = set(_items_of(dataset, TEST, user))
    return Shopper(
        id=str(dataset.users[USER_ID][user]),
        count=len(history),
        history=[ids[item] for item in history[:HISTORY]],
        suggestions=[Suggestion(id=ids[item], taken=item in taken, parts=parts) for item, parts in told.items()],
    )


def _items_of(dataset: Dataset, part: str, user: int) -> Iterator[int]:
    user_P, item_P = dataset.pairs(part)
    yield from item_P[user_P == user].tolist()


def _shares(told: list[_Told]) -> dict[str, float]:
    """Sum of each part over all scores, relative to the sum of the scores; none where that is not above 0."""
    sums: dict[str, float] = {}
    for parts in (one for scores in told for one in scores.values()):
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
    whole = sum(sums.values())
    return {name: value / whole for name, value in sums.items()} if whole > 0 else {}
