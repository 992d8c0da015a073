"""What ranking losses share whose batches are some users with all their interactions.

Shapes: P interactions of the batch, U users, I items, B users of the batch, D dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from model.config import ObjectiveConfig
from model.data import TrainingData
from model.gather import gather_rows
from model.micro import Vectors
from model.ranking.l2 import L2
from model.sampling import UserBatch, UserSampler


class ByUserLoss(ABC):
    """A user's vector is fetched once for all the user's interactions, and meets the catalogue once."""

    def __init__(self, data: TrainingData, config: ObjectiveConfig) -> None:
        """Raises `ValueError` when all interactions are with one item."""
        self._sampler = UserSampler(data.user_T, data.item_T, data.num_users, data.weight_T)
        self._l2 = L2(data, config.l2_exponent)
        self._num_items = data.num_items
        self._trained_item = torch.unique(data.item_T)
        if len(self._trained_item) < 2:
            raise ValueError("nothing to learn: all training interactions are with one item; more items are needed")

    def num_batches(self, batch_size: int) -> int:
        """Batches of about `batch_size` interactions."""
        return self._sampler.num_batches(batch_size)

    def batches(self, batch_size: int, generator: Generator) -> Iterator[UserBatch]:
        """Yield users with their interactions."""
        return self._sampler.epoch(batch_size, generator)

    def users(self, batch: UserBatch) -> Tensor:
        """The batch's."""
        return batch.user_B

    def terms(self, vectors: Vectors, batch: UserBatch, generator: Generator) -> tuple[Tensor, Tensor]:
        """Loss, and the L2 of each interaction's user and item vector over P."""
        user_BD = vectors.of_users(batch.user_B)
        item_PD = gather_rows(vectors.item_ID, batch.item_P)
        score_P = vectors.columns.total((gather_rows(user_BD, batch.row_P) * item_PD).sum(1))
        squares = gather_rows(self._l2.users(user_BD, batch.user_B), batch.row_P).sum()
        squares = squares + self._l2.items(item_PD, batch.item_P).sum()
        l2 = 0.5 * vectors.columns.total(squares) / len(batch.item_P)
        return self._loss(score_P, user_BD, vectors, batch, generator), l2

    @abstractmethod
    def _loss(
        self, score_P: Tensor, user_BD: Tensor, vectors: Vectors, batch: UserBatch, generator: Generator
    ) -> Tensor:
        """The loss, a mean over the batch's interactions, from their scores and the vectors that gave them."""
