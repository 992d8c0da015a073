"""Full-ranking evaluation: blocked scores, masked top-k, vectorised metrics.

Definitions, for a user with relevant items R and a list of K: recall = hits / |R|; precision = hits / K;
hit = any hit; NDCG with gain 1 and the ideal of min(|R|, K) hits; MAP = mean over the first min(|R|, K) of
precision at each hit. Each is averaged over the users with at least one relevant item. Coverage is the share
of the candidates that stand in some user's list.
Shapes: U users, I items, D dimension, K list length, B users of a block, P pairs, Q users asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.blocks import Block
from model.gather import runs
from model.parallel import WHOLE, Columns
from model.topk import top_k

SCORES = Block(1 << 20)  # 4 MiB of float32: they stay in cache


class Scorer(Protocol):
    """Whatever gives every item a score for some users."""

    @property
    def num_items(self) -> int:
        """I."""
        ...

    def scores(self, user_B: Tensor) -> Tensor:
        """Return new scores, float (B, I); higher is better, -inf is never ranked."""
        ...


@dataclass(frozen=True)
class InnerProduct:
    """The score of an embedding model: user vector times item vector."""

    user_UD: Tensor
    item_ID: Tensor
    columns: Columns = WHOLE

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.item_ID)

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        return self.columns.total(self.user_UD[user_B] @ self.item_ID.T)


class Pairs:
    """A set of (user, item) pairs, sorted, with the start of every user's run."""

    def __init__(self, user_P: Tensor, item_P: Tensor, num_users: int, num_items: int) -> None:
        """Take int64 pairs in any order, each once."""
        self.num_users, self.num_items = num_users, num_items
        self.key_P = torch.sort(user_P * num_items + item_P).values
        self.user_P, self.item_P = self.key_P // num_items, self.key_P % num_items
        self.count_U = torch.bincount(self.user_P, minlength=num_users)
        self.start_U = self.count_U.cumsum(0) - self.count_U

    def of_users(self, user_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (row in `user_B`, item) of every pair of these users."""
        count_B = self.count_U[user_B]
        row = torch.arange(len(user_B), device=user_B.device).repeat_interleave(count_B)
        return row, self.item_P[runs(self.start_U[user_B], count_B)]

    def contains(self, user_QK: Tensor, item_QK: Tensor) -> Tensor:
        """Whether each (user, item) is in the set."""
        if not len(self.key_P):
            return torch.zeros_like(item_QK, dtype=torch.bool)
        key = user_QK * self.num_items + item_QK
        place = torch.searchsorted(self.key_P, key).clamp(max=len(self.key_P) - 1)
        return self.key_P[place] == key

    def restricted_to(self, item_mask_I: Tensor) -> "Pairs":
        """The pairs whose item is in the mask."""
        kept = item_mask_I[self.item_P]
        return Pairs(self.user_P[kept], self.item_P[kept], self.num_users, self.num_items)

    def restricted_to_users(self, user_mask_U: Tensor) -> "Pairs":
        """The pairs whose user is in the mask."""
        kept = user_mask_U[self.user_P]
        return Pairs(self.user_P[kept], self.item_P[kept], self.num_users, self.num_items)

    def users(self) -> Tensor:
        """Users with at least one pair, ascending."""
        return self.count_U.nonzero().squeeze(1)


@dataclass(frozen=True)
class Ranking:
    """The top items of some users; places without any candidate left hold -1."""

    user_Q: Tensor
    item_QK: Tensor


@torch.no_grad()
def rank_items(
    scorer: Scorer,
    user_Q: Tensor,
    seen: Sequence[Pairs],
    list_length: int,
    candidate_I: Tensor | None = None,
    block: Block = SCORES,
) -> Ranking:
    """Rank all candidate items but the seen ones, by score.

    Args:
        user_Q: int64, users to rank for.
        seen: pairs to leave out.
        list_length: K; cut to the number of items.
        candidate_I: bool, items that may be ranked; None: all.
        block: scores held at once.
    """
    num_items = scorer.num_items
    kept = min(list_length, num_items)
    item_QK = user_Q.new_empty(len(user_Q), kept)  # filled in place, as the graph's neighbours are
    rows = block.rows(num_items, user_Q.device)
    for user_B, item_BK in zip(user_Q.split(rows), item_QK.split(rows), strict=True):
        score_BI = scorer.scores(user_B)
        _mask(score_BI, user_B, seen, candidate_I)
        value_BK, place_BK = top_k(score_BI, kept)
        item_BK.copy_(place_BK.masked_fill(value_BK == -torch.inf, -1))
    return Ranking(user_Q, item_QK)


def _mask(score_BI: Tensor, user_B: Tensor, seen: Sequence[Pairs], candidate_I: Tensor | None) -> None:
    """Give -inf to what a user may not be shown."""
    for pairs in seen:
        row, item = pairs.of_users(user_B)
        score_BI[row, item] = -torch.inf
    if candidate_I is not None:
        score_BI.masked_fill_(~candidate_I, -torch.inf)


def hits(ranking: Ranking, relevant: Pairs) -> Tensor:
    """Whether the item at each place is one of the user's relevant ones, bool (Q, K)."""
    user_QK = ranking.user_Q[:, None].expand_as(ranking.item_QK)
    return relevant.contains(user_QK, ranking.item_QK) & (ranking.item_QK >= 0)


def metrics_per_user(ranking: Ranking, relevant: Pairs, cutoffs: Sequence[int]) -> dict[str, Tensor]:
    """Metrics of every ranked user at every cutoff, float64 (Q,), named like `recall@20`.

    A user without relevant items gets NaN.
    """
    hit_QK = hits(ranking, relevant).double()
    relevant_Q = relevant.count_U[ranking.user_Q].double()
    relevant_Q = torch.where(relevant_Q > 0, relevant_Q, torch.nan)
    place_K = torch.arange(1, hit_QK.shape[1] + 1, dtype=torch.float64, device=hit_QK.device)
    discount_K = 1 / torch.log2(place_K + 1)
    precision_QK = hit_QK.cumsum(1) / place_K
    metrics = {}
    for cutoff in cutoffs:
        top_QK, weight_K = hit_QK[:, :cutoff], discount_K[:cutoff]
        hits_Q = top_QK.sum(1)
        best_Q = relevant_Q.clamp(max=cutoff)
        ideal = torch.cat([weight_K.new_zeros(1), weight_K.cumsum(0)])
        ideal_Q = ideal[best_Q.nan_to_num(0).long().clamp(max=len(weight_K))]
        metrics[f"recall@{cutoff}"] = hits_Q / relevant_Q
        metrics[f"precision@{cutoff}"] = torch.where(relevant_Q.isnan(), torch.nan, hits_Q / cutoff)
        metrics[f"ndcg@{cutoff}"] = torch.where(relevant_Q.isnan(), torch.nan, (top_QK * weight_K).sum(1) / ideal_Q)
        metrics[f"hit@{cutoff}"] = torch.where(relevant_Q.isnan(), torch.nan, (hits_Q > 0).double())
        metrics[f"map@{cutoff}"] = (top_QK * precision_QK[:, :cutoff]).sum(1) / best_Q
    return metrics


def coverage(ranking: Ranking, cutoff: int, num_candidates: int) -> float:
    """Share of the candidates that stand in at least one of the lists of `cutoff`."""
    listed = ranking.item_QK[:, :cutoff]
    return len(torch.unique(listed[listed >= 0])) / max(1, num_candidates)


def slot_share(ranking: Ranking, cutoff: int, item_mask_I: Tensor) -> float | None:
    """Share of the places of the lists of `cutoff` that items of the mask hold; None where no place is filled."""
    listed = ranking.item_QK[:, :cutoff]
    listed = listed[listed >= 0]
    return float(item_mask_I[listed].double().mean()) if len(listed) else None


def summarise(ranking: Ranking, relevant: Pairs, cutoffs: Sequence[int], num_candidates: int) -> dict[str, float]:
    """Mean of every metric over the users with relevant items, coverage, and the number of those users."""
    per_user = metrics_per_user(ranking, relevant, cutoffs)
    summary = {name: float(value_Q.nanmean()) for name, value_Q in per_user.items()}
    summary |= {f"coverage@{cutoff}": coverage(ranking, cutoff, num_candidates) for cutoff in cutoffs}
    return summary | {"users": float((relevant.count_U[ranking.user_Q] > 0).sum())}


@torch.no_grad()
def rank_pairs(
    scorer: Scorer,
    relevant: Pairs,
    seen: Sequence[Pairs],
    candidate_I: Tensor | None = None,
    block: Block = SCORES,
) -> tuple[Tensor, Tensor]:
    """Rank every relevant item among all that its user may be shown; arguments as of `rank_items`.

    Returns the rank of every pair, float64 (P,) from 1, the mean rank where scores are tied, and how many items there
    were to rank, int64 (P,).
    """
    rank_P = torch.empty(len(relevant.key_P), dtype=torch.float64, device=relevant.key_P.device)
    count_P = torch.empty_like(relevant.key_P)
    rows = block.rows(scorer.num_items, rank_P.device)
    for place_B in torch.arange(len(rank_P), device=rank_P.device).split(rows):
        user_B, item_B = relevant.user_P[place_B], relevant.item_P[place_B]
        score_BI = scorer.scores(user_B)
        own_B1 = score_BI.gather(1, item_B[:, None])
        _mask(score_BI, user_B, seen, candidate_I)
        tied_B = (score_BI == own_B1).sum(1)  # the item itself among them
        rank_P[place_B] = 1 + (score_BI > own_B1).sum(1) + (tied_B - 1).double() / 2
        count_P[place_B] = (score_BI > -torch.inf).sum(1)
    return rank_P, count_P


def graded_gain(rank_P: Tensor, count_P: Tensor, cutoff: int) -> Tensor:
    """A graded hit, above chance: like recall at a cutoff, but falling smoothly with the rank; float64 (P,).

        gain(r) = cutoff / (cutoff + r - 1) - mean over s = 1 … n of cutoff / (cutoff + s - 1)

    A reciprocal rank with an offset, as in reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009); a random
    order of the n items has the mean 0. Two models differ in it far less by luck than in recall
    (docs/decisions/0027-gate.md).
    """
    largest = int(count_P.max()) if len(count_P) else 0
    place = torch.arange(largest, dtype=torch.float64, device=rank_P.device)
    chance = (cutoff / (cutoff + place)).cumsum(0) / (place + 1)
    return cutoff / (cutoff + rank_P - 1) - chance[count_P - 1]
