"""What a ranking loss is.

Shapes: P pairs of a batch.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Generator, Tensor

from model.micro import Vectors


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
