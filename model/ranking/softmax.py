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
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from model.blocks import Block
from model.config import ObjectiveConfig
from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.parallel import Columns
from model.ranking.by_user import ByUserLoss
from model.sampling import UserBatch

SCORES = Block(1 << 20)  # of users for candidates (4 MiB of float32: they stay in cache)
LARGEST_LOG_SHARE = -1e-6  # of the part taken out of the sum, so that the logarithm of the rest stays finite


@dataclass(frozen=True)
class Candidates:
    """The items that a batch's denominators run over."""

    item_C: Tensor
    drawn_I: Tensor
    """bool, whether an item stands among them."""
    log_inverse_probability: float
    """Log of the inverse probability of being drawn; 0 if all items are candidates."""


class SoftmaxLoss(ByUserLoss):
    """Candidates are the trained items, all of them or a uniform sample (docs/decisions/0003-negatives.md)."""

    def __init__(self, data: TrainingData, config: ObjectiveConfig, block: Block = SCORES) -> None:
        """Args: `block`: scores held at once; see `ByUserLoss`."""
        super().__init__(data, config)
        self._block = block
        self._num_candidates = min(config.softmax_candidates, len(self._trained_item))

    def _loss(
        self, score_P: Tensor, user_BD: Tensor, vectors: Vectors, batch: UserBatch, generator: Generator
    ) -> Tensor:
        candidates = self._draw(generator)
        item_CD = gather_rows(vectors.item_ID, candidates.item_C)
        loss: Tensor = _NegativeLogLikelihood.apply(
            score_P, user_BD, item_CD, batch, candidates, vectors.columns, self._block
        )
        return loss

    def _draw(self, generator: Generator) -> Candidates:
        trained_item, count = self._trained_item, self._num_candidates
        item_C = trained_item
        if count < len(trained_item):
            item_C = trained_item[torch.randperm(len(trained_item), generator=generator, device=item_C.device)[:count]]
        drawn_I = torch.zeros(self._num_items, dtype=torch.bool, device=item_C.device)
        drawn_I.index_fill_(0, item_C, True)
        return Candidates(item_C, drawn_I, math.log(len(trained_item) / count))


class _NegativeLogLikelihood(torch.autograd.Function):
    """Weighted mean over the interactions of the log of the sum over all trained items, less the score.

    Scores exist for a few users at a time, which stay in cache; their gradient is taken at once, from the very scores
    in hand, so that none is kept for the backward pass or computed (over several processes: summed) again in it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        score_P: Tensor,
        user_BD: Tensor,
        item_CD: Tensor,
        batch: UserBatch,
        candidates: Candidates,
        columns: Columns,
        block: Block,
    ) -> Tensor:
        loss_P, score_grad_P = torch.empty_like(score_P), torch.empty_like(score_P)
        user_grad_BD, item_grad_DC = torch.empty_like(user_BD), item_CD.new_zeros(item_CD.shape[::-1])
        scale_P = torch.full_like(score_P, 1 / len(score_P))
        if batch.weight_P is not None:
            scale_P *= batch.weight_P
        for rows, pairs in batch.parts(block.rows(len(item_CD), item_CD.device)):
            share_RC = columns.total(user_BD[rows] @ item_CD.T)
            largest_R = share_RC.amax(1)
            sum_R = share_RC.sub_(largest_R[:, None]).exp_().sum(1)
            row_P = batch.row_P[pairs] - rows.start
            log_all_P, slope_P = _log_sum_over_all(
                (largest_R + sum_R.log())[row_P], score_P[pairs], candidates, batch.item_P[pairs]
            )
            loss_P[pairs] = (log_all_P - score_P[pairs]) * scale_P[pairs]
            slope_P *= scale_P[pairs]
            score_grad_P[pairs] = -slope_P
            slope_R = torch.zeros_like(sum_R).index_add_(0, row_P, slope_P)
            share_RC *= (slope_R / sum_R)[:, None]
            torch.mm(share_RC, item_CD, out=user_grad_BD[rows])
            item_grad_DC.addmm_(user_BD[rows].T, share_RC)  # this way round it reads the shares as they lie
        ctx.save_for_backward(score_grad_P, user_grad_BD, item_grad_DC)
        return loss_P.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        score_grad_P, user_grad_BD, item_grad_DC = ctx.saved_tensors
        return grad * score_grad_P, grad * user_grad_BD, grad * item_grad_DC.T, None, None, None, None


def _log_sum_over_all(
    log_sum_P: Tensor, score_P: Tensor, candidates: Candidates, item_P: Tensor
) -> tuple[Tensor, Tensor]:
    """Log of the (estimated) sum over all trained items, and its slope by `log_sum_P`; by the score it is 1 less that.

    Args:
        log_sum_P: log of the sum over the candidates, for every interaction.
        item_P: its item.
    """
    if candidates.log_inverse_probability == 0:
        return log_sum_P, torch.ones_like(log_sum_P)
    share_P = (score_P - log_sum_P).clamp(max=LARGEST_LOG_SHARE).exp() * candidates.drawn_I[item_P]
    others_P = log_sum_P + torch.log1p(-share_P) + candidates.log_inverse_probability
    return torch.logaddexp(score_P, others_P), torch.sigmoid(others_P - score_P) / (1 - share_P)
