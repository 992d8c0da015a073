"""Softmax over the catalogue: the multinomial likelihood of what users have (Liang et al., arXiv:1802.05814).

    loss = mean over (u, i) of w_ui (log sum_j exp(s_uj) - s_ui), w the interaction's weight, or 1

A batch is some users with all their interactions, so that a user's scores are computed once for all of them. Where
the catalogue is larger than the number of candidates, the sum is estimated from items drawn without replacement,
each weighted with the inverse of its probability of being drawn (the logQ correction of sampled softmax, Bengio &
Senecal 2008); the pair's own item always stands in it once, with weight 1.

Shapes: T training interactions, P interactions of the batch, U users, I items, B users of the batch, C candidates,
D dimension.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.sampling import UserBatch, UserSampler, weighted_mean

LARGEST_LOG_SHARE = -1e-6  # of the sum that is taken out again, so that the logarithm of the rest stays finite


@dataclass(frozen=True)
class Candidates:
    """The items that a batch's denominators run over."""

    item_C: Tensor
    slot_I: Tensor
    """Where an item stands among them, -1 where it does not."""
    log_inverse_probability: float
    """Of being drawn; 0 where every item stands among them."""


class SoftmaxLoss:
    """Candidates are the trained items, all of them or a uniform sample (docs/decisions/0003-negatives.md)."""

    def __init__(self, data: TrainingData, num_candidates: int) -> None:
        self._sampler = UserSampler(data.user_T, data.item_T, data.num_users, data.weight_T)
        self._trained_item = torch.unique(data.item_T)
        if len(self._trained_item) < 2:
            raise ValueError("nothing to learn: all training interactions are with one item; more items are needed")
        self._num_items = data.num_items
        self._num_candidates = min(num_candidates, len(self._trained_item))

    def num_batches(self, batch_size: int) -> int:
        """Batches of about `batch_size` interactions."""
        return self._sampler.num_batches(batch_size)

    def batches(self, batch_size: int, generator: Generator) -> Iterator[UserBatch]:
        """Yield users with their interactions."""
        return self._sampler.epoch(batch_size, generator)

    def terms(self, vectors: Vectors, batch: UserBatch, generator: Generator) -> tuple[Tensor, Tensor]:
        """Loss, and half the squared norm of each interaction's user and item vector over P."""
        user_BD = gather_rows(vectors.user_UD, batch.user_B)
        item_PD = gather_rows(vectors.item_ID, batch.item_P)
        score_P = vectors.columns.total((gather_rows(user_BD, batch.row_P) * item_PD).sum(1))
        candidates = self._draw(generator)
        score_BC = vectors.columns.total(user_BD @ gather_rows(vectors.item_ID, candidates.item_C).T)
        log_sum_P = _log_sum(score_BC, score_P, batch, candidates)
        squares = gather_rows(user_BD.square().sum(1), batch.row_P).sum() + item_PD.square().sum()
        l2 = 0.5 * vectors.columns.total(squares) / len(batch.item_P)
        return weighted_mean(log_sum_P - score_P, batch.weight_P), l2

    def _draw(self, generator: Generator) -> Candidates:
        trained_item, count = self._trained_item, self._num_candidates
        if count < len(trained_item):
            draw = torch.randperm(len(trained_item), generator=generator, device=trained_item.device)[:count]
            item_C = trained_item[draw]
        else:
            item_C = trained_item
        slot_I = torch.full((self._num_items,), -1, dtype=torch.int64, device=item_C.device)
        slot_I[item_C] = torch.arange(count, device=item_C.device)
        return Candidates(item_C, slot_I, math.log(len(trained_item) / count))


def _log_sum(score_BC: Tensor, score_P: Tensor, batch: UserBatch, candidates: Candidates) -> Tensor:
    """Log of the (estimated) sum over all trained items, for every interaction."""
    log_sum_P = gather_rows(score_BC.logsumexp(1), batch.row_P)
    if candidates.log_inverse_probability == 0:
        return log_sum_P
    drawn_P = candidates.slot_I[batch.item_P] >= 0
    share_P = (score_P - log_sum_P).clamp(max=LARGEST_LOG_SHARE).exp()
    others_P = log_sum_P + torch.log1p(-share_P * drawn_P)
    return torch.logaddexp(score_P, others_P + candidates.log_inverse_probability)
