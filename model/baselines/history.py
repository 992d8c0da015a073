"""What models that score a user by the items of the user's history have in common.

Shapes: U users, I items, B users of a block, C items of a chunk, T training interactions.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from model.data import TrainingData
from model.evaluation import Pairs
from model.sparse import EdgePattern

BLOCK_ELEMENTS = 1 << 25  # elements of a dense block held at once (128 MiB of float32)


def history_of(data: TrainingData) -> Pairs:
    """The training interactions, by user."""
    return Pairs(data.user_T, data.item_T, data.num_users, data.num_items)


def dense_history(history: Pairs, user_B: Tensor) -> Tensor:
    """1 where the user has the item, else 0; float32 (B, I)."""
    row, item = history.of_users(user_B)
    history_BI = torch.zeros(len(user_B), history.num_items, device=user_B.device)
    history_BI[row, item] = 1
    return history_BI


def shared_users(data: TrainingData) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (item_C, count_CI): how many users each item of a chunk shares with every item, float32."""
    by_item = EdgePattern(data.item_T, data.user_T, (data.num_items, data.num_users))
    by_user = Pairs(data.item_T, data.user_T, data.num_items, data.num_users)
    item_user = by_item.matrix(torch.ones(len(data.item_T), device=data.item_T.device))
    chunk = max(1, BLOCK_ELEMENTS // max(data.num_users, data.num_items))
    for item_C in torch.arange(data.num_items, device=data.item_T.device).split(chunk):
        column, user = by_user.of_users(item_C)
        users_UC = torch.zeros(data.num_users, len(item_C), device=item_C.device)
        users_UC[user, column] = 1
        yield item_C, (item_user @ users_UC).T
