"""Bayesian personalised ranking (Rendle et al., arXiv:1205.2618), the loss of MICRO's paper.

    loss = mean over (u, i) of -w_ui log sigmoid(s_ui - s_uj), j an item that u has not interacted with, w a weight or 1

Shapes: B batch, D dimension.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Generator, Tensor

from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.sampling import TripleBatch, TripleSampler, weighted_mean


class BprLoss:
    """One uniformly drawn unseen item per interaction."""

    def __init__(self, data: TrainingData) -> None:
        self._sampler = TripleSampler(data.user_T, data.item_T, data.num_users, data.num_items, data.weight_T)

    def num_batches(self, batch_size: int) -> int:
        """Batches of exactly `batch_size` interactions, the last one shorter."""
        return self._sampler.num_batches(batch_size)

    def batches(self, batch_size: int, generator: Generator) -> Iterator[TripleBatch]:
        """Yield triples."""
        return self._sampler.epoch(batch_size, generator)

    def users(self, batch: TripleBatch) -> None:
        """Everyone: a batch of drawn interactions has most users in it, some of them often."""

    def terms(self, vectors: Vectors, batch: TripleBatch, generator: Generator) -> tuple[Tensor, Tensor]:
        """Loss, and half the squared norm of the users', seen and unseen items' vectors over B."""
        user_BD = vectors.of_users(batch.user_B)
        seen_BD, unseen_BD = gather_rows(vectors.item_ID, batch.seen_B), gather_rows(vectors.item_ID, batch.unseen_B)
        loss_B = F.softplus(vectors.columns.total((user_BD * unseen_BD).sum(1) - (user_BD * seen_BD).sum(1)))
        squares = user_BD.square().sum() + seen_BD.square().sum() + unseen_BD.square().sum()
        return weighted_mean(loss_B, batch.weight_B), 0.5 * vectors.columns.total(squares) / len(batch.user_B)
