"""What joined vectors come to on validation, for a sample of users: choices are made by it.

Shapes: S users of the sample, I items, D dimension, J joined columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.data import HeldOut, TrainingData
from model.epoch import VALIDATION_METRIC
from model.evaluation import InnerProduct, Pairs, Ranking, metrics_per_user, rank_items, slot_share
from model.finishing.joining import Cut, Joining

SCORES_AT_MOST, USERS_AT_MOST = 1 << 30, 16_384
"""What one measurement may take, whatever the catalogue."""
CUTOFF = 20


@dataclass(frozen=True)
class Outcome:
    """Of one ranking."""

    metric: float
    """Validation recall@20."""
    new_share: float
    """Of all places in the lists, those of items without training interactions."""


class ValidationSample:
    """Validation users, numbered anew, with their joined columns."""

    def __init__(self, joining: Joining, data: TrainingData, held_out: HeldOut) -> None:
        """Take every user with held-out interactions, or evenly spaced ones where there are too many."""
        self._joining = joining
        users = torch.unique(held_out.user_P)
        count = min(len(users), USERS_AT_MOST, max(1, SCORES_AT_MOST // data.num_items))
        self._user_S = users[torch.arange(count, device=users.device) * len(users) // count]
        self._joined_SJ = joining.users(self._user_S)
        self._relevant = self._renumbered(held_out.user_P, held_out.item_P, data)
        self._seen = self._renumbered(data.user_T, data.item_T, data)
        self._candidate_I = held_out.candidate_I
        self._new_I = ~data.trained_items()

    def _renumbered(self, user_P: Tensor, item_P: Tensor, data: TrainingData) -> Pairs:
        place_U = user_P.new_full((data.num_users,), -1)
        place_U[self._user_S] = torch.arange(len(self._user_S), device=user_P.device)
        kept = place_U[user_P] >= 0
        return Pairs(place_U[user_P[kept]], item_P[kept], len(self._user_S), data.num_items)

    def metric(self, cut: Cut) -> float:
        """Recall with the columns of a cut."""
        item_ID = self._joining.all_items(cut)
        return self._recall(self._rank(self._joined_SJ @ cut.user_JD, item_ID, self._candidate_I))

    def by_content(self, weights: dict[str, float]) -> Outcome:
        """Lists by taste in content alone, in these proportions; in equal ones where all are 0."""
        if not any(weights.values()):
            weights = dict.fromkeys(weights, 1.0)
        cut = self._joining.content_alone(weights)
        return self.outcome(self._joined_SJ @ cut.user_JD, self._joining.all_items(cut))

    def contest(self, cut: Cut) -> "Contest":
        """Of all items, with these columns."""
        return Contest(self, self._joined_SJ @ cut.user_JD, self._joining.all_items(cut), self._new_I)

    @property
    def is_cold(self) -> bool:
        """Whether only some items compete for what is held out."""
        return self._candidate_I is not None

    def outcome(self, user_SD: Tensor, item_ID: Tensor) -> Outcome:
        """Recall, and new items' share of the places where all items compete."""
        ranking = self._rank(user_SD, item_ID, None)
        share = slot_share(ranking, CUTOFF, self._new_I) or 0.0
        alone = self._rank(user_SD, item_ID, self._candidate_I) if self.is_cold else ranking
        return Outcome(self._recall(alone), share)

    def _rank(self, user_SD: Tensor, item_ID: Tensor, candidate_I: Tensor | None) -> Ranking:
        everyone = torch.arange(len(user_SD), device=user_SD.device)
        return rank_items(InnerProduct(user_SD, item_ID), everyone, [self._seen], CUTOFF, candidate_I)

    def _recall(self, ranking: Ranking) -> float:
        return float(metrics_per_user(ranking, self._relevant, [CUTOFF])[VALIDATION_METRIC].nanmean())


class Contest:
    """New items against the others, with their vectors made longer or not."""

    def __init__(self, sample: ValidationSample, user_SD: Tensor, item_ID: Tensor, new_I: Tensor) -> None:
        self._sample, self._user_SD, self._item_ID, self._new_I = sample, user_SD, item_ID, new_I
        self.is_cold = sample.is_cold

    def outcome(self, scale: float) -> Outcome:
        """With new items' vectors times `scale`."""
        scaled_ID = torch.where(self._new_I[:, None], scale * self._item_ID, self._item_ID)
        return self._sample.outcome(self._user_SD, scaled_ID)
