"""Popularity: the same list for everybody, items by their number of training interactions."""

import torch

from model.data import TrainingData
from model.evaluation import InnerProduct


def popularity(data: TrainingData) -> InnerProduct:
    """Score every item with its number of training interactions."""
    count_I = torch.bincount(data.item_T, minlength=data.num_items).float()
    return InnerProduct(torch.ones(data.num_users, 1), count_I.cpu()[:, None])
