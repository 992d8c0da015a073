"""The user-item graph that backbones propagate over, kept as its two halves: users from items, items from users.

    [ loops    to user ]
    [ to item  loops   ]      loops only where the normalisation has them

Each half meets the other side's matrix, so that users and items need not be joined into one.
Shapes: U users, I items, N = U + I nodes, T interactions, E edges (both directions, and loops), B some of the users,
R rows (users or items), D dimension.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.config import Normalisation
from model.data import TrainingData
from model.normalisation import normalise_edges
from model.sparse import CompressedRows, EdgePattern, constant_product


@dataclass(frozen=True)
class Halves:
    """A or its transpose, or what is left of one with some users only; products have no gradient."""

    to_user: CompressedRows
    """(U, I)"""
    to_item: CompressedRows
    """(I, U)"""
    loop_U: Tensor | None = None
    loop_I: Tensor | None = None

    def users(self, user_UD: Tensor, item_ID: Tensor) -> Tensor:
        """The product's rows of users."""
        return _with_loops(self.to_user @ item_ID, self.loop_U, user_UD)

    def items(self, user_UD: Tensor, item_ID: Tensor) -> Tensor:
        """The product's rows of items."""
        return _with_loops(self.to_item @ user_UD, self.loop_I, item_ID)

    def __matmul__(self, node_ND: Tensor) -> Tensor:
        """The product (N, D), users first."""
        sides = node_ND.split([self.to_user.shape[0], self.to_item.shape[0]])
        return torch.cat([self.users(*sides), self.items(*sides)])


class UserItemGraph:
    """A and its transpose; `graph @ node_ND`, users first, has a gradient."""

    def __init__(self, data: TrainingData, normalisation: Normalisation) -> None:
        """Take every interaction once; A is D^-1/2 A D^-1/2 (`symmetric`) or D^-1 (A + I) (`row`)."""
        num_users, num_items = data.num_users, data.num_items
        num_nodes, item_node_T = num_users + num_items, data.item_T + num_users
        row_E, column_E = torch.cat([data.user_T, item_node_T]), torch.cat([item_node_T, data.user_T])
        looped = normalisation == "row"
        if looped:
            loop_N = torch.arange(num_nodes, device=row_E.device)
            row_E, column_E = torch.cat([row_E, loop_N]), torch.cat([column_E, loop_N])
        one_E = torch.ones(len(row_E), device=row_E.device)
        weight_E = normalise_edges(row_E, column_E, one_E, num_nodes, normalisation)
        to_user_T, to_item_T, weight_N = weight_E.split([len(data.user_T), len(data.user_T), looped * num_nodes])
        loops = weight_N.split([num_users, num_items]) if looped else (None, None)
        pattern = EdgePattern(data.user_T, data.item_T, (num_users, num_items))
        self.forward = Halves(pattern.matrix(to_user_T), pattern.transposed(to_item_T), *loops)
        self.backward = Halves(pattern.matrix(to_item_T), pattern.transposed(to_user_T), *loops)

    def of_users(self, user_B: Tensor | None) -> tuple[Halves, Halves]:
        """A with these users' rows alone, and the transpose with their columns alone: the others' gradient is 0.

        Args:
            user_B: int64, each once; None: everyone.
        """
        if user_B is None:
            return self.forward, self.backward
        rows = self.forward.to_user.rows(user_B)
        loop_B = None if self.forward.loop_U is None else self.forward.loop_U[user_B]
        return (
            replace(self.forward, to_user=rows, loop_U=loop_B),
            replace(self.backward, to_item=rows.transposed(), loop_U=loop_B),
        )

    def __matmul__(self, node_ND: Tensor) -> Tensor:
        return constant_product(self, node_ND)


def _with_loops(product_RD: Tensor, loop_R: Tensor | None, own_RD: Tensor) -> Tensor:
    return product_RD if loop_R is None else product_RD.addcmul_(loop_R[:, None], own_RD)
