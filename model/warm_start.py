"""A training that begins where an earlier one ended: its parameters, laid onto the users and items of today.

Users and items of the earlier training find the rows of their ID embeddings again. A new item begins among its content
neighbours. A new user begins at 0: the first propagation brings in the items that the user has, and a random row would
only blur them, in this night and in those that begin at it. A new user without a training interaction keeps a random
row, because nothing is known. Every other parameter is taken as it is.
From there the training takes small steps, and keeps the start where no epoch is better on validation: what has not
changed stays where consumers have it (docs/decisions/0012-warm-start.md).
Shapes: U users, I items, S rows of the earlier training, N new items, K neighbours, D dimension.
"""

import torch
from torch import Tensor

from model.graph import NeighbourGraph
from model.micro import Micro

USERS, ITEMS = "user_embedding_UD", "item_embedding_ID"


@torch.no_grad()
def carry_over(
    model: Micro, earlier: dict[str, Tensor], earlier_user_U: Tensor, earlier_item_I: Tensor
) -> dict[str, Tensor]:
    """Parameters for `model`, which is freshly initialised and stays as it is.

    Args:
        earlier: parameters of a model of the same configuration.
        earlier_user_U, earlier_item_I: int64, the row that the user or item had there, -1 for a new one.
    """
    device = model.item_embedding_ID.device
    carried = {name: value.to(device) for name, value in earlier.items()}
    earlier_user_U, earlier_item_I = earlier_user_U.to(device), earlier_item_I.to(device)
    item_ID = _matched_rows(model.item_embedding_ID, carried[ITEMS], earlier_item_I)
    blank_UD = model.user_embedding_UD * ~model.trained_U[:, None]
    user_UD = _matched_rows(blank_UD, carried[USERS], earlier_user_U)
    item_ID = _placed_among_neighbours(item_ID, earlier_item_I < 0, model.initial_graphs())
    return carried | {USERS: user_UD, ITEMS: item_ID}


def _matched_rows(fresh_RD: Tensor, earlier_SD: Tensor, earlier_R: Tensor) -> Tensor:
    return torch.where(earlier_R[:, None] >= 0, earlier_SD[earlier_R.clamp(min=0)], fresh_RD)


def _placed_among_neighbours(item_ID: Tensor, new_I: Tensor, graphs: list[NeighbourGraph]) -> Tensor:
    """Give new items the mean of their known neighbours' rows over all modalities, weighted by similarity.

    A new item without a known neighbour (no content, or none like it) keeps its row.
    """
    new = new_I.nonzero().squeeze(1)
    total_ND, weight_N = item_ID.new_zeros(len(new), item_ID.shape[1]), item_ID.new_zeros(len(new))
    for graph in graphs:
        neighbour_NK = graph.neighbour_IK[new]
        similarity_NK = graph.similarity_IK[new] * ~new_I[neighbour_NK]
        total_ND += torch.einsum("nk,nkd->nd", similarity_NK, item_ID[neighbour_NK])
        weight_N += similarity_NK.sum(1)
    placed = weight_N > 0
    item_ID[new[placed]] = total_ND[placed] / weight_N[placed, None]
    return item_ID
