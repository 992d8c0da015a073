"""LightGCN (He et al., arXiv:2002.02126): mean of the layers of E^(l+1) = A E^(l).

Shapes: U users, I items, B some of the users, or all of them, D dimension.
"""

from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from model.backbones.backbone import Backbone
from model.parallel import WHOLE, Columns
from model.user_item import UserItemGraph


class LightGCN(Backbone):
    """Linear propagation over the user-item graph; no weights of its own."""

    node_tensors = 2

    def __init__(
        self, *, adjacency: UserItemGraph, dim: int, num_layers: int, generator: Generator, columns: Columns = WHOLE
    ) -> None:
        super().__init__(adjacency=adjacency, dim=dim, num_layers=num_layers, generator=generator, columns=columns)
        self.adjacency, self.num_layers = adjacency, num_layers

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean over layers 0..L, equation 8 with equal weights."""
        return self._mean(user_UD, item_ID, None) if self.num_layers else (user_UD, item_ID)

    def of_users(self, user_UD: Tensor, item_ID: Tensor, user_B: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer exists, and has a gradient, for these users alone."""
        if not self.num_layers:
            return super().of_users(user_UD, item_ID, user_B)
        return self._mean(user_UD, item_ID, user_B)

    def _mean(self, user_UD: Tensor, item_ID: Tensor, user_B: Tensor | None) -> tuple[Tensor, Tensor]:
        mean_BD, mean_ID = _LayerMean.apply(user_UD, item_ID, user_B, self.adjacency, self.num_layers)
        return mean_BD, mean_ID


class _LayerMean(torch.autograd.Function):
    """Rows B and I of (I + A + ... + A^L) E / (L + 1); the gradient is the same polynomial of A's transpose.

    By Horner's rule, E + A (E + A (E + ...)), and nothing is saved.
    """

    @staticmethod
    def forward(
        ctx: Any, user_UD: Tensor, item_ID: Tensor, user_B: Tensor | None, adjacency: UserItemGraph, num_layers: int
    ) -> tuple[Tensor, Tensor]:
        every, (last, first_back) = adjacency.forward, adjacency.of_users(user_B)
        ctx.every, ctx.first, ctx.user_B = adjacency.backward, first_back, user_B
        ctx.num_layers = num_layers
        sum_UD, sum_ID = user_UD, item_ID
        for _ in range(num_layers - 1):
            sum_UD, sum_ID = every.users(sum_UD, sum_ID).add_(user_UD), every.items(sum_UD, sum_ID).add_(item_ID)
        sum_BD = last.users(_rows(sum_UD, user_B), sum_ID).add_(_rows(user_UD, user_B))
        sum_ID = last.items(sum_UD, sum_ID).add_(item_ID)
        return sum_BD.div_(num_layers + 1), sum_ID.div_(num_layers + 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor, grad_ID: Tensor) -> tuple[Tensor | None, ...]:
        every, first, user_B = ctx.every, ctx.first, ctx.user_B
        grad_BD, grad_ID = grad_BD / (ctx.num_layers + 1), grad_ID / (ctx.num_layers + 1)
        loop_B = first.loop_U
        own_BD = grad_BD if loop_B is None else grad_BD * (1 + loop_B[:, None])
        sum_UD, sum_ID = _add(every.to_user @ grad_ID, own_BD, user_B), first.items(grad_BD, grad_ID).add_(grad_ID)
        for _ in range(ctx.num_layers - 1):
            sum_UD, sum_ID = (
                _add(every.users(sum_UD, sum_ID), grad_BD, user_B),
                every.items(sum_UD, sum_ID).add_(grad_ID),
            )
        return sum_UD, sum_ID, None, None, None


def _rows(row_UD: Tensor, user_B: Tensor | None) -> Tensor:
    return row_UD if user_B is None else row_UD[user_B]


def _add(row_UD: Tensor, added_BD: Tensor, user_B: Tensor | None) -> Tensor:
    """Add to the rows B, in place."""
    return row_UD.add_(added_BD) if user_B is None else row_UD.index_add_(0, user_B, added_BD)
