"""Ranking losses: what makes a user's items score above the others. A new one is one file here and one line below.

Shapes: P pairs of a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Generator, Tensor

from model.data import TrainingData
from model.micro import Vectors
from model.ranking.bpr import BprLoss
from model.ranking.softmax import SoftmaxLoss
from model.ranking.squares import SquaresLoss


class RankingLoss(Protocol):
    """Draws the batches of an epoch and says what the vectors lose on one."""

    def num_batches(self, batch_size: int) -> int:
        """Batches of one epoch, for about `batch_size` interactions each."""
        ...

    def batches(self, batch_size: int, generator: Generator) -> Iterator[Any]:
        """Yield one epoch: every training interaction once, in random order."""
        ...

    def users(self, batch: Any) -> Tensor:
        """The users whose vectors `terms` looks at, int64, each once."""
        ...

    def terms(self, vectors: Vectors, batch: Any, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the batch's interactions, and half the squared norm of its vectors likewise."""
        ...


def make_ranking_loss(
    name: str,
    data: TrainingData,
    *,
    num_candidates: int = 8192,
    unobserved_weight: float = 10.0,
    l2_exponent: float = 1.0,
) -> RankingLoss:
    """Prepare a loss on the training interactions.

    Args:
        name: `softmax`, `squares` or `bpr`.
        num_candidates: items in the softmax's denominator.
        unobserved_weight: of all pairs together in the squares, in the weight of the observed ones.
        l2_exponent: to which power of a vector's interactions it is regularised (`model.ranking.l2`).

    Raises `ValueError` for another name, and when there is nothing to rank below what users have.
    """
    losses: dict[str, Callable[[], RankingLoss]] = {
        "softmax": lambda: SoftmaxLoss(data, num_candidates, l2_exponent),
        "squares": lambda: SquaresLoss(data, unobserved_weight, l2_exponent),
        "bpr": lambda: BprLoss(data, l2_exponent),
    }
    if name not in losses:
        raise ValueError(f"there is no ranking loss {name!r}; known: {', '.join(losses)}")
    return losses[name]()
