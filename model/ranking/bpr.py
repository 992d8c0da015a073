"""Bayesian personalised ranking (Rendle et al., arXiv:1205.2618), the loss of MICRO's paper.

    loss = mean over (u, i) of -w_ui log sigmoid(s_ui - s_uj), j an item that u has not interacted with, w a weight or 1

Shapes: P interactions of the batch, B its users, D dimension.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Generator, Tensor

from model.config import ObjectiveConfig
from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.ranking.l2 import L2
from model.sampling import TripleBatch, TripleSampler, weighted_mean


class BprLoss:
    """One uniformly drawn unseen item per interaction."""

    def __init__(self, data: TrainingData, config: ObjectiveConfig) -> None:
        """Raises `ValueError` when every user has every trained item."""
        self._l2 = L2(data, config.l2_exponent)
        self._sampler = TripleSampler(data.user_T, data.item_T, data.num_users, data.num_items, data.weight_T)

    def num_batches(self, batch_size: int) -> int:
        """Batches of exactly `batch_size` interactions, the last one shorter."""
        return self._sampler.num_batches(batch_size)

    def batches(self, batch_size: int, generator: Generator) -> Iterator[TripleBatch]:
        """Yield triples."""
        return self._sampler.epoch(batch_size, generator)

    def users(self, batch: TripleBatch) -> Tensor:
        """The batch's."""
        return batch.user_B

    def terms(self, vectors: Vectors, batch: TripleBatch, generator: Generator) -> tuple[Tensor, Tensor]:
        """Loss, and the L2 of the users', seen and unseen items' vectors over P."""
        user_PD = gather_rows(vectors.of_users(batch.user_B), batch.row_P)
        seen_PD, unseen_PD = gather_rows(vectors.item_ID, batch.seen_P), gather_rows(vectors.item_ID, batch.unseen_P)
        loss_P = F.softplus(vectors.columns.total((user_PD * unseen_PD).sum(1) - (user_PD * seen_PD).sum(1)))
        squares = self._l2.users(user_PD, batch.user_B[batch.row_P])
        squares = squares + self._l2.items(seen_PD, batch.seen_P) + self._l2.items(unseen_PD, batch.unseen_P)
        return weighted_mean(loss_P, batch.weight_P), 0.5 * vectors.columns.total(squares.sum()) / len(batch.row_P)
