"""What models that score a user by the items of the user's history have in common.

Shapes: U users, I items, B users of a block, C items of a chunk, T training interactions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.data import TrainingData
from model.evaluation import Pairs
from model.sparse import CompressedRows, EdgePattern, row_starts

BLOCK_ELEMENTS = 1 << 25  # elements of a dense block held at once (128 MiB of float32)


@dataclass(frozen=True)
class HistoryScorer:
    """An item's score is the sum of its weights for the items of the user's history.

    The weights are dense, I x I: a baseline for catalogues of some ten thousand items.
    """

    history: Pairs
    weight_II: Tensor
    """float32; row j holds what an item j of the history adds to every item's score."""

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.weight_II)

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        _, item = self.history.of_users(user_B)
        start = row_starts(self.history.count_U[user_B])
        rows = CompressedRows(start, item, self.weight_II.new_ones(len(item)), (len(user_B), self.num_items))
        return rows @ self.weight_II


def history_of(data: TrainingData) -> Pairs:
    """The training interactions, by user."""
    return Pairs(data.user_T, data.item_T, data.num_users, data.num_items)


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
