"""Matrix factorisation: the ID embeddings themselves (Rendle et al., BPR, arXiv:1205.2618)."""

from torch import Generator, Tensor

from model.backbones.backbone import Backbone
from model.parallel import WHOLE, Columns
from model.user_item import UserItemGraph


class MF(Backbone, name="mf"):
    """No propagation at all."""

    node_tensors = 1

    def __init__(
        self, *, adjacency: UserItemGraph, dim: int, num_layers: int, generator: Generator, columns: Columns = WHOLE
    ) -> None:
        super().__init__()

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings as they are."""
        return user_UD, item_ID
