"""Nearest-neighbour models: an item's score is the similarity to it of the items in the user's history.

    score(u, i) = sum of s_ij over the j of u's history that are among the K items most similar to i

Item-kNN takes the cosine of the items' users (Deshpande & Karypis, ACM TOIS 22(1), 2004), if wanted shrunk (Ferrari
Dacrema et al., arXiv:1907.06902), content-kNN that of their features.
Shapes: I items, C items of a chunk, K neighbours, D feature dimension.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from model.baselines.history import BLOCK_ELEMENTS, HistoryScorer, history_of, shared_users
from model.baselines.shares import proportions
from model.data import TrainingData
from model.finishing.taste import Taste


def item_knn(data: TrainingData, num_neighbours: int, shrinkage: float = 0.0) -> HistoryScorer:
    """Neighbours by the users that items share; content is not used.

    Args:
        data: the training interactions.
        num_neighbours: K, at least 1; cut to the number of items.
        shrinkage: not negative, added to the product of the norms: what few users share counts less.
    """
    norm_I = torch.bincount(data.item_T, minlength=data.num_items).float().sqrt().clamp(min=1)
    weight_II = torch.zeros(data.num_items, data.num_items, device=norm_I.device)
    for item_C, count_CI in shared_users(data):
        sim_CI = count_CI / (norm_I[item_C][:, None] * norm_I + shrinkage)
        _keep_nearest(weight_II, sim_CI, item_C, num_neighbours)
    return HistoryScorer(history_of(data), weight_II)


def content_knn(data: TrainingData, modality: str, num_neighbours: int) -> HistoryScorer:
    """Neighbours by one modality's features as they are, among the items of the training interactions.

    Items without the modality are nobody's neighbour and score 0.

    Args:
        data: the training interactions and the features.
        modality: one that `data` has; else `KeyError`.
        num_neighbours: K, at least 1; cut to the number of items.
    """
    present_I = data.present[modality]
    return _nearest(data, F.normalize(data.features[modality], dim=1) * present_I[:, None], num_neighbours)


def whitened_knn(
    data: TrainingData,
    shares: Mapping[str, float],
    num_neighbours: int,
    power: float = 0.0,
    dimensions: int | None = None,
) -> HistoryScorer:
    """Neighbours by centred or whitened content of several modalities: similarity is the mean of their cosines.

    Items without any of the modalities are nobody's neighbour and score 0.

    Args:
        data: the training interactions and the features.
        shares: what each modality counts in the mean.
        num_neighbours: K, at least 1; cut to the number of items.
        power: 0 for content that is centred only, else whitened (`model.finishing.taste`).
        dimensions: kept of each modality; None: all.
    """
    share = proportions(shares)
    content = Taste(data, list(share), dimensions, power).content
    joined_IC = torch.cat([share[name] ** 0.5 * content_IK for name, content_IK in content.items()], dim=1)
    return _nearest(data, joined_IC, num_neighbours)


def _nearest(data: TrainingData, vector_ID: Tensor, num_neighbours: int) -> HistoryScorer:
    """Neighbours by the inner product of these vectors, where it is positive."""
    trained_I = data.trained_items()
    weight_II = torch.zeros(data.num_items, data.num_items, device=vector_ID.device)
    every_I = torch.arange(data.num_items, device=vector_ID.device)
    for item_C in every_I.split(max(1, BLOCK_ELEMENTS // data.num_items)):
        sim_CI = (vector_ID[item_C] @ vector_ID.T).clamp_(min=0).mul_(trained_I)
        _keep_nearest(weight_II, sim_CI, item_C, num_neighbours)
    return HistoryScorer(history_of(data), weight_II)


def _keep_nearest(weight_II: Tensor, sim_CI: Tensor, item_C: Tensor, num_neighbours: int) -> None:
    """Write the largest similarities of each item, itself left out, into the item's column of the weights."""
    sim_CI[torch.arange(len(item_C), device=item_C.device), item_C] = 0
    top = sim_CI.topk(min(num_neighbours, sim_CI.shape[1]), dim=1)
    weight_II[top.indices, item_C[:, None]] = top.values
