"""Terms that a baseline adds to the ranking loss, so that the common loop trains it.

Shapes: D dimension, P interactions of a batch.
"""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Generator, Tensor

from model.micro import Vectors
from model.ranking import RankingLoss


@runtime_checkable
class OwnLoss(Protocol):
    """A model with such terms."""

    def own_loss(self, vectors: Vectors, batch: Any, ranking_loss: RankingLoss, generator: Generator) -> Tensor:
        """Return them, weighted, for a batch that `ranking_loss` drew and the vectors that the model made for it."""
        ...


def with_own_loss(ranking_loss: RankingLoss, model: object) -> RankingLoss:
    """The ranking loss with the terms of the model added; the loss itself for a model that has none."""
    return _WithOwnLoss(ranking_loss, model) if isinstance(model, OwnLoss) else ranking_loss


class _WithOwnLoss:
    def __init__(self, ranking_loss: RankingLoss, model: OwnLoss) -> None:
        self._ranking_loss, self._model = ranking_loss, model

    def num_batches(self, batch_size: int) -> int:
        return self._ranking_loss.num_batches(batch_size)

    def batches(self, batch_size: int, generator: Generator) -> Iterator[Any]:
        return self._ranking_loss.batches(batch_size, generator)

    def users(self, batch: Any) -> Tensor:
        return self._ranking_loss.users(batch)

    def terms(self, vectors: Vectors, batch: Any, generator: Generator) -> tuple[Tensor, Tensor]:
        ranking, l2 = self._ranking_loss.terms(vectors, batch, generator)
        return ranking + self._model.own_loss(vectors, batch, self._ranking_loss, generator), l2
