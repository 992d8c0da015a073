"""What a collaborative-filtering backbone is.

Shapes: U users, I items, B some of the users, D dimension.
"""

from typing import ClassVar

from torch import Generator, Tensor, nn

from model.gather import gather_rows
from model.parallel import WHOLE, Columns
from model.user_item import UserItemGraph


class Backbone(nn.Module):
    """Turns ID embeddings into propagated ones."""

    node_tensors: ClassVar[int]
    """How many float32 matrices (U+I, D) it holds between forward and backward pass, for `model.memory`."""

    def __init__(
        self, *, adjacency: UserItemGraph, dim: int, num_layers: int, generator: Generator, columns: Columns = WHOLE
    ) -> None:
        """Keep nothing; a subclass keeps what it uses.

        Args:
            adjacency: normalised, (U+I, U+I), users first; `adjacency @ node_ND` is its product.
            dim: D.
            num_layers: `model.backbone_layers`, at least 0.
            generator: what every random number is drawn from.
            columns: which of the D columns this process has, for what joins columns.
        """
        super().__init__()

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of the same shapes."""
        raise NotImplementedError

    def of_users(self, user_UD: Tensor, item_ID: Tensor, user_B: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` returns, with the vectors of these users only, int64 (B,), each once.

        Overridden where that is less work.
        """
        user_UD, item_ID = self(user_UD, item_ID)
        return gather_rows(user_UD, user_B), item_ID
