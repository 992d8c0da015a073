"""Nearest-neighbour models: an item's score is the similarity to it of the items in the user's history.

    score(u, i) = sum of s_ij over the j of u's history that are among the K items most similar to i

Item-kNN takes the cosine of the items' users (Deshpande & Karypis, ACM TOIS 22(1), 2004), content-kNN that of
their features. Shapes: I items, C items of a chunk, K neighbours, D feature dimension.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.baselines.history import BLOCK_ELEMENTS, HistoryScorer, history_of, shared_users
from model.data import TrainingData


def item_knn(data: TrainingData, num_neighbours: int) -> HistoryScorer:
    """Neighbours by the users that items share; content is not used.

    Args:
        data: the training interactions.
        num_neighbours: K, at least 1; cut to the number of items.
    """
    norm_I = torch.bincount(data.item_T, minlength=data.num_items).float().sqrt().clamp(min=1)
    weight_II = torch.zeros(data.num_items, data.num_items, device=norm_I.device)
    for item_C, count_CI in shared_users(data):
        _keep_nearest(weight_II, count_CI / (norm_I[item_C][:, None] * norm_I), item_C, num_neighbours)
    return HistoryScorer(history_of(data), weight_II)


def content_knn(data: TrainingData, modality: str, num_neighbours: int) -> HistoryScorer:
    """Neighbours by one modality's features, among the items of the training interactions.

    Items without the modality are nobody's neighbour and score 0.

    Args:
        data: the training interactions and the features.
        modality: one that `data` has; else `KeyError`.
        num_neighbours: K, at least 1; cut to the number of items.
    """
    present_I = data.present[modality]
    unit_ID = F.normalize(data.features[modality], dim=1) * present_I[:, None]
    trained_I = data.trained_items()
    weight_II = torch.zeros(data.num_items, data.num_items, device=unit_ID.device)
    for item_C in torch.arange(data.num_items, device=unit_ID.device).split(max(1, BLOCK_ELEMENTS // data.num_items)):
        sim_CI = (unit_ID[item_C] @ unit_ID.T).clamp(min=0) * trained_I
        _keep_nearest(weight_II, sim_CI, item_C, num_neighbours)
    return HistoryScorer(history_of(data), weight_II)


def _keep_nearest(weight_II: Tensor, sim_CI: Tensor, item_C: Tensor, num_neighbours: int) -> None:
    """Write the largest similarities of each item, itself left out, into the item's column of the weights."""
    sim_CI[torch.arange(len(item_C), device=item_C.device), item_C] = 0
    top = sim_CI.topk(min(num_neighbours, sim_CI.shape[1]), dim=1)
    weight_II[top.indices, item_C[:, None]] = top.values
