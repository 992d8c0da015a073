"""Softmax over the catalogue: the multinomial likelihood of what users have (Liang et al., arXiv:1802.05814).

    loss = mean over (u, i) of w_ui (log sum_j exp(s_uj) - s_ui), w the interaction's weight, or 1

A user's scores are computed once for all the user's interactions. Where the catalogue is larger than the number of
candidates, the sum is estimated from items drawn without replacement, each weighted with the inverse of its
probability of being drawn (the logQ correction of sampled softmax, Bengio & Senecal 2008); the pair's own item always
stands in it once, with weight 1.

Shapes: P interactions of the batch, I items, B users of the batch, C candidates,
D dimension, R rows of a chunk.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.parallel import Columns
from model.ranking.by_user import ByUserLoss
from model.sampling import UserBatch, weighted_mean
from model.topk import rows_at_once

SCORE_ELEMENTS = 1 << 20  # scores of users for candidates held at once (4 MiB of float32: they stay in cache)
LARGEST_LOG_SHARE = -1e-6  # of the sum that is taken out again, so that the logarithm of the rest stays finite


@dataclass(frozen=True)
class Candidates:
    """The items that a batch's denominators run over."""

    item_C: Tensor
    slot_I: Tensor
    """Where an item stands among them, -1 where it does not."""
    log_inverse_probability: float
    """Of being drawn; 0 where every item stands among them."""


class SoftmaxLoss(ByUserLoss):
    """Candidates are the trained items, all of them or a uniform sample (docs/decisions/0003-negatives.md)."""

    def __init__(self, data: TrainingData, num_candidates: int) -> None:
        super().__init__(data)
        self._num_candidates = min(num_candidates, len(self._trained_item))

    def _loss(
        self, score_P: Tensor, user_BD: Tensor, vectors: Vectors, batch: UserBatch, generator: Generator
    ) -> Tensor:
        candidates = self._draw(generator)
        log_sum_B = _log_sum_exp(user_BD, gather_rows(vectors.item_ID, candidates.item_C), vectors.columns)
        log_sum_P = _log_sum_over_all(log_sum_B, score_P, batch, candidates)
        return weighted_mean(log_sum_P - score_P, batch.weight_P)

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


def _log_sum_exp(user_BD: Tensor, item_CD: Tensor, columns: Columns) -> Tensor:
    """Log of the sum of exp(score) over the candidates, for every user (B,)."""
    log_sum_B: Tensor = _LogSumExp.apply(user_BD, item_CD, columns)
    return log_sum_B


class _LogSumExp(torch.autograd.Function):
    """Scores exist for a few users at a time, which stay in cache, and are computed anew for the gradient."""

    @staticmethod
    def forward(ctx: Any, user_BD: Tensor, item_CD: Tensor, columns: Columns) -> Tensor:
        log_sum_B = user_BD.new_empty(len(user_BD))
        for rows in _blocks(user_BD, item_CD):
            log_sum_B[rows] = columns.total(user_BD[rows] @ item_CD.T).logsumexp(1)
        ctx.columns = columns
        ctx.save_for_backward(user_BD, item_CD, log_sum_B)
        return log_sum_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, Tensor, None]:
        user_BD, item_CD, log_sum_B = ctx.saved_tensors
        user_grad_BD, item_grad_CD = torch.empty_like(user_BD), torch.zeros_like(item_CD)
        for rows in _blocks(user_BD, item_CD):
            share_RC = ctx.columns.total(user_BD[rows] @ item_CD.T).sub_(log_sum_B[rows, None]).exp_()
            share_RC.mul_(grad_B[rows, None])
            torch.mm(share_RC, item_CD, out=user_grad_BD[rows])
            item_grad_CD.addmm_(share_RC.T, user_BD[rows])
        return user_grad_BD, item_grad_CD, None


def _blocks(user_BD: Tensor, item_CD: Tensor) -> Iterator[slice]:
    rows = rows_at_once(len(item_CD), user_BD.device, SCORE_ELEMENTS)
    return (slice(begin, begin + rows) for begin in range(0, len(user_BD), rows))


def _log_sum_over_all(log_sum_B: Tensor, score_P: Tensor, batch: UserBatch, candidates: Candidates) -> Tensor:
    """Log of the (estimated) sum over all trained items, for every interaction."""
    log_sum_P = gather_rows(log_sum_B, batch.row_P)
    if candidates.log_inverse_probability == 0:
        return log_sum_P
    drawn_P = candidates.slot_I[batch.item_P] >= 0
    share_P = (score_P - log_sum_P).clamp(max=LARGEST_LOG_SHARE).exp()
    others_P = log_sum_P + torch.log1p(-share_P * drawn_P)
    return torch.logaddexp(score_P, others_P + candidates.log_inverse_probability)
