"""A user's taste in one modality's content, alone: what the features of an item would find without any training.

    score(u, i) = sum over the j of u's history of cos(x_j, x_i)

A yardstick for catalogues of any size: content-kNN (`model.baselines.neighbours`) holds items x items, this only the
features and a block of scores. Shapes: U users, I items, B users of a block, D feature dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.baselines.history import history_of
from model.data import TrainingData
from model.evaluation import Pairs
from model.sparse import CompressedRows, row_starts


@dataclass(frozen=True)
class SummedCosines:
    """The sum of an item's cosines with the items of the user's history; 0 where either side has no content."""

    history: Pairs
    """Training interactions with items that have the modality."""
    feature_ID: Tensor
    """float32, of any length: a copy of length 1 would take as much memory again."""
    scale_I: Tensor
    """float32, one over the length; 0 where there is no content."""

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.feature_ID)

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        _, item = self.history.of_users(user_B)
        start = row_starts(self.history.count_U[user_B])
        rows = CompressedRows(start, item, self.scale_I[item], (len(user_B), self.num_items))
        score_BI = (rows @ self.feature_ID) @ self.feature_ID.T
        return score_BI.mul_(self.scale_I).masked_fill_(self.scale_I == 0, 0)


def summed_cosines(data: TrainingData, modality: str) -> SummedCosines:
    """Taste in one modality, from the training interactions.

    Args:
        data: the training interactions and the features.
        modality: one that `data` has; else `KeyError`.
    """
    present_I, feature_ID = data.present[modality], data.features[modality]
    length_I = torch.linalg.vector_norm(feature_ID, dim=1)
    scale_I = torch.where(present_I & (length_I > 0), 1 / length_I, 0.0)
    return SummedCosines(history_of(data).restricted_to(scale_I > 0), feature_ID, scale_I)
