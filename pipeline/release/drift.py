"""How far the vectors of a release have moved from the champion's, in numbers, by slice.

Only users and items that both know are compared, among themselves: the delta has what is new or gone. Cosines
and norms are of all of them. Neighbours and recommendations are of some, drawn with a fixed seed, so that a catalogue
of a million items takes seconds. Shapes: I items, U users, A drawn ones, D dimension, K = 20.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from model.topk import top_k
from pipeline.dataset.groups import head_items
from pipeline.release.space import DriftRow

PLACES = 20
TAIL = 0.05
"""Quantile of the cosines that is shown beside their median."""
MOST_DRAWN = 2000
MOST_PRODUCTS = 1 << 35
"""Multiplications of one search: at a million items of 64 columns 536 are drawn."""
BLOCK_ELEMENTS = 1 << 25
"""Scores held at once (128 MiB of float32)."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Known:
    """The vectors of users and items that both releases know, row by row."""

    items: tuple[np.ndarray, np.ndarray]
    """Those of then and those of now, float32 (I, D)."""
    users: tuple[np.ndarray, np.ndarray]
    """The same, float32 (U, D)."""
    popularity_I: np.ndarray
    """Interactions in training."""
    content_only_I: np.ndarray
    """bool: items whose vector now rests on content alone."""
    seen: tuple[np.ndarray, np.ndarray]
    """Rows of users and of items: what users have, which no list shows."""


def measure_drift(known: Known) -> dict[str, DriftRow]:
    """Rows `all`, `head`, `tail` and `content` of items, and `users`."""
    then_ID, now_ID = known.items
    kept_I = _neighbours_kept(then_ID, now_ID)
    listed_UK, still_UK = _recommendations_kept(known)
    rows = {}
    for name, slice_I in _slices(known).items():
        places = slice_I[listed_UK] & (listed_UK >= 0)
        drawn_I = slice_I & ~np.isnan(kept_I)
        rows[name] = dataclasses.replace(
            _vectors(then_ID[slice_I], now_ID[slice_I]),
            neighbours_kept=_mean(kept_I[drawn_I]),
            recommendations_kept=_mean(still_UK[places]),
            drawn=int(drawn_I.sum()),
        )
    lists = _mean(still_UK[listed_UK >= 0])
    rows["users"] = dataclasses.replace(_vectors(*known.users), recommendations_kept=lists, drawn=len(listed_UK))
    return rows


def _slices(known: Known) -> dict[str, np.ndarray]:
    popularity_I = known.popularity_I
    head_I = head_items(popularity_I)
    return {
        "all": np.ones(len(popularity_I), dtype=bool),
        "head": head_I,
        "tail": (popularity_I > 0) & ~head_I,
        "content": known.content_only_I,
    }


def _vectors(then_RD: np.ndarray, now_RD: np.ndarray) -> DriftRow:
    """Cosines and lengths, of the rows that have a length in both."""
    then_R, now_R = (np.linalg.norm(rows, axis=1).astype(np.float64) for rows in (then_RD, now_RD))
    whole_R = (then_R > 0) & (now_R > 0)
    if not whole_R.any():
        return DriftRow(count=len(then_RD))
    product_R = np.einsum("rd,rd->r", then_RD[whole_R], now_RD[whole_R], dtype=np.float64)
    cosine_R = (product_R / (then_R * now_R)[whole_R]).clip(-1, 1)
    return DriftRow(
        count=len(then_RD),
        cosine_median=float(np.median(cosine_R)),
        cosine_tail=float(np.quantile(cosine_R, TAIL)),
        norm_ratio=float(now_R[whole_R].mean() / then_R[whole_R].mean()),
    )


def _neighbours_kept(then_ID: np.ndarray, now_ID: np.ndarray) -> np.ndarray:
    """Of drawn items the share of neighbours kept, float64 (I,); NaN for the others, and without any neighbour."""
    kept_I = np.full(len(then_ID), np.nan)
    places = min(PLACES, len(then_ID) - 1)
    if places < 1:
        return kept_I
    drawn_A = _drawn(len(then_ID), then_ID.shape)
    own = np.arange(len(drawn_A)), drawn_A
    found = [_best(unit_ID[drawn_A], unit_ID, own, places) for unit_ID in map(_unit_rows, (then_ID, now_ID))]
    kept_I[drawn_A] = _still_there(*found).mean(axis=1)
    return kept_I


def _recommendations_kept(known: Known) -> tuple[np.ndarray, np.ndarray]:
    """Lists of then of drawn users, rows of items (A, K) or -1, and whether the new lists have them."""
    (then_ID, now_ID), (then_UD, now_UD) = known.items, known.users
    places = min(PLACES, len(then_ID))
    if not places or not len(then_UD):
        return np.empty((0, places), dtype=np.int64), np.empty((0, places), dtype=bool)
    drawn_A = _drawn(len(then_UD), then_ID.shape)
    place_U = np.full(len(then_UD), -1)
    place_U[drawn_A] = np.arange(len(drawn_A))
    user, item = known.seen
    asked = place_U[user] >= 0
    seen = place_U[user[asked]], item[asked]
    then_AK, now_AK = (
        _best(user_UD[drawn_A], item_ID, seen, places) for user_UD, item_ID in ((then_UD, then_ID), (now_UD, now_ID))
    )
    return then_AK, _still_there(then_AK, now_AK)


def _drawn(count: int, searched: tuple[int, ...]) -> np.ndarray:
    most = min(MOST_DRAWN, max(1, MOST_PRODUCTS // max(1, searched[0] * searched[1])))
    drawn_A = np.random.default_rng(SEED).permutation(count)[:most] if count > most else np.arange(count)
    return np.sort(drawn_A)


def _best(
    query_AD: np.ndarray, item_ID: np.ndarray, left_out: tuple[np.ndarray, np.ndarray], places: int
) -> np.ndarray:
    """The items with the largest inner products, int64 (A, K); -1: none.

    Args:
        left_out: rows of queries, and of the items that they may not be given.
    """
    query, item = left_out
    items_ID = torch.from_numpy(item_ID)
    found = []
    step = max(1, BLOCK_ELEMENTS // len(item_ID))
    for start in range(0, len(query_AD), step):
        score_BI = torch.from_numpy(query_AD[start : start + step]) @ items_ID.T
        here = (query >= start) & (query < start + step)
        score_BI[torch.from_numpy(query[here] - start), torch.from_numpy(item[here])] = -torch.inf
        value_BK, place_BK = top_k(score_BI, places)
        found.append(torch.where(torch.isinf(value_BK), -1, place_BK).numpy())
    return np.concatenate(found)


def _still_there(then_AK: np.ndarray, now_AK: np.ndarray) -> np.ndarray:
    """Whether each of then is anywhere in the row of now, bool (A, K)."""
    there_AK: np.ndarray = (then_AK[:, :, None] == now_AK[:, None, :]).any(axis=2)
    return there_AK


def _unit_rows(vector_ID: np.ndarray) -> np.ndarray:
    length_I1 = np.linalg.norm(vector_ID, axis=1, keepdims=True)
    unit_ID: np.ndarray = vector_ID / np.where(length_I1 > 0, length_I1, 1)
    return unit_ID


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
