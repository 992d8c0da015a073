"""LightGCN (He et al., arXiv:2002.02126): mean of the layers of E^(l+1) = A E^(l).

Shapes: U users, I items, N = U + I nodes, D dimension.
"""

import torch
from torch import Generator, Tensor, nn

from model.sparse import SparseMatrix


class LightGCN(nn.Module):
    """Linear propagation over the user-item graph; no weights of its own."""

    def __init__(self, *, adjacency: SparseMatrix, dim: int, num_layers: int, generator: Generator) -> None:
        super().__init__()
        self.adjacency, self.num_layers = adjacency, num_layers

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean over layers 0..L, equation 8 with equal weights."""
        layer_ND = torch.cat([user_UD, item_ID])
        total_ND = layer_ND
        for _ in range(self.num_layers):
            layer_ND = self.adjacency @ layer_ND
            total_ND = total_ND + layer_ND
        mean_ND = total_ND / (self.num_layers + 1)
        return mean_ND[: len(user_UD)], mean_ND[len(user_UD) :]
