"""LightGCN (He et al., arXiv:2002.02126): mean of the layers of E^(l+1) = A E^(l).

Shapes: U users, I items, N = U + I nodes, D dimension.
"""

from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from model.backbones.backbone import Backbone
from model.parallel import WHOLE, Columns
from model.sparse import CompressedRows, SparseMatrix


class LightGCN(Backbone, name="lightgcn"):
    """Linear propagation over the user-item graph; no weights of its own."""

    node_tensors = 4

    def __init__(
        self, *, adjacency: SparseMatrix, dim: int, num_layers: int, generator: Generator, columns: Columns = WHOLE
    ) -> None:
        super().__init__()
        self.adjacency, self.num_layers = adjacency, num_layers

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean over layers 0..L, equation 8 with equal weights."""
        mean_ND: Tensor = _LayerMean.apply(torch.cat([user_UD, item_ID]), self.adjacency, self.num_layers)
        # One concatenation in the backward pass, where two slices would fill and add two matrices.
        mean_user_UD, mean_item_ID = mean_ND.split([len(user_UD), len(item_ID)])
        return mean_user_UD, mean_item_ID


class _LayerMean(torch.autograd.Function):
    """(I + A + ... + A^L) E / (L + 1); its gradient is the same polynomial of A's transpose, nothing is saved."""

    @staticmethod
    def forward(ctx: Any, first_ND: Tensor, adjacency: SparseMatrix, num_layers: int) -> Tensor:
        ctx.adjacency, ctx.num_layers = adjacency, num_layers
        return _layer_mean(adjacency.forward, first_ND, num_layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        return _layer_mean(ctx.adjacency.backward, grad_ND, ctx.num_layers), None, None


def _layer_mean(matrix: CompressedRows, first_ND: Tensor, num_layers: int) -> Tensor:
    """Horner's rule, E + A (E + A (E + ...)), as running means: one product and one pass in place a layer."""
    mean_ND = first_ND
    for layer in range(num_layers):
        mean_ND = (matrix @ mean_ND).lerp_(first_ND, 1 / (layer + 2))
    return mean_ND.clone() if mean_ND is first_ND else mean_ND
