"""Nearest-neighbour models: an item's score is the similarity to it of the items in the user's history.

    score(u, i) = sum of s_ij over the j of u's history that are among the K items most similar to i

Item-kNN takes the cosine of the items' users (Deshpande & Karypis, ACM TOIS 22(1), 2004), content-kNN that of
their features. Shapes: I items, B users of a block, C items of a chunk, K neighbours, D feature dimension.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.baselines.history import BLOCK_ELEMENTS, dense_history, history_of, shared_users
from model.data import TrainingData
from model.evaluation import Pairs
from model.sparse import CompressedRows, EdgePattern


@dataclass(frozen=True)
class NeighbourScorer:
    """Sums the similarities of every item's neighbours over the user's history."""

    history: Pairs
    similarity_II: CompressedRows
    """Row i holds item i's K neighbours."""

    @property
    def num_items(self) -> int:
        """I."""
        return self.history.num_items

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        return (self.similarity_II @ dense_history(self.history, user_B).T).T.contiguous()


def item_knn(data: TrainingData, num_neighbours: int) -> NeighbourScorer:
    """Neighbours by the users that items share."""
    norm_I = torch.bincount(data.item_T, minlength=data.num_items).float().sqrt().clamp(min=1)
    blocks = [
        _top(count_CI / (norm_I[item_C][:, None] * norm_I), item_C, num_neighbours)
        for item_C, count_CI in shared_users(data)
    ]
    return _scorer(data, blocks)


def content_knn(data: TrainingData, modality: str, num_neighbours: int) -> NeighbourScorer:
    """Neighbours by one modality's features, among the items of the training interactions.

    Items without the modality are nobody's neighbour and score 0.
    """
    present_I = data.present[modality]
    unit_ID = F.normalize(data.features[modality], dim=1) * present_I[:, None]
    trained_I = torch.zeros_like(present_I)
    trained_I[data.item_T] = True
    blocks = []
    for item_C in torch.arange(data.num_items, device=unit_ID.device).split(max(1, BLOCK_ELEMENTS // data.num_items)):
        sim_CI = (unit_ID[item_C] @ unit_ID.T).clamp(min=0) * trained_I
        blocks.append(_top(sim_CI, item_C, num_neighbours))
    return _scorer(data, blocks)


def _top(sim_CI: Tensor, item_C: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    """The largest similarities of each row, the item itself left out, and where they stand."""
    sim_CI[torch.arange(len(item_C), device=item_C.device), item_C] = 0
    top = sim_CI.topk(min(num_neighbours, sim_CI.shape[1]), dim=1)
    return top.values, top.indices


def _scorer(data: TrainingData, blocks: list[tuple[Tensor, Tensor]]) -> NeighbourScorer:
    similarity_IK, neighbour_IK = (torch.cat(side) for side in zip(*blocks, strict=True))
    row_E = torch.arange(data.num_items, device=neighbour_IK.device).repeat_interleave(neighbour_IK.shape[1])
    pattern = EdgePattern(row_E, neighbour_IK.reshape(-1), (data.num_items, data.num_items))
    return NeighbourScorer(history_of(data), pattern.matrix(similarity_IK.reshape(-1)))
