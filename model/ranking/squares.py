"""Squared error over all pairs of a user and an item: the objective of implicit ALS (Hu, Koren & Volinsky, ICDM 2008).

    loss = mean over (u, i) of w_ui (1 - s_ui)^2, plus a / P times the sum over u and all trained items j of s_uj^2

with w the interaction's weight, or 1, and `a` the weight of a pair, in the form of Rendle et al. (arXiv:2110.14037).
The second sum has every user and every item in it and takes no sample and no score: it is the product of the users' and
the items' D x D second moments.

Shapes: P interactions of the batch, I items, B users of the batch, D dimension.
"""

import torch
from torch import Generator, Tensor

from model.config import ObjectiveConfig
from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.ranking.by_user import ByUserLoss
from model.sampling import UserBatch, weighted_mean


class SquaresLoss(ByUserLoss):
    """Observed pairs are drawn to 1 and every pair, they too, to 0 (docs/decisions/0018-squares.md)."""

    def __init__(self, data: TrainingData, config: ObjectiveConfig) -> None:
        super().__init__(data, config)
        num_pairs = len(torch.unique(data.user_T)) * len(self._trained_item)
        self._pair_weight = config.unobserved_weight * len(data.user_T) / num_pairs

    def _loss(
        self, score_P: Tensor, user_BD: Tensor, vectors: Vectors, batch: UserBatch, generator: Generator
    ) -> Tensor:
        columns, trained_item_ID = vectors.columns, gather_rows(vectors.item_ID, self._trained_item)
        squared_scores = (columns.moments(user_BD) * columns.moments(trained_item_ID)).sum()
        observed = weighted_mean((1 - score_P).square(), batch.weight_P)
        return observed + self._pair_weight * squared_scores / len(score_P)
