"""Taste in content alone, with which a user's taste meets an item's content as in `model.finishing.taste`.

    score(u, i) = sum over modalities of share_m p_u,m . x_i,m

It is an inner product, so items without interactions are ranked like others.
Shapes: U users, I items, C dimensions of all modalities.
"""

from collections.abc import Mapping

import torch

from model.baselines.shares import proportions
from model.data import TrainingData
from model.evaluation import InnerProduct
from model.finishing.taste import Taste


def content_taste(
    data: TrainingData, shares: Mapping[str, float], power: float = 0.0, dimensions: int | None = None
) -> InnerProduct:
    """Sum up what every user has.

    Args:
        data: the training interactions and the features.
        shares: what each modality counts.
        power: 0 for content that is centred only, else whitened.
        dimensions: kept of each modality; None: all.

    Raises `KeyError` for a modality that `data` lacks, `ValueError` where every share is 0.
    """
    share = proportions(shares)
    taste = Taste(data, list(share), dimensions, power)
    everyone = torch.arange(data.num_users, device=data.user_T.device)
    parts = zip(share.values(), taste.of_users(everyone), strict=True)
    user_UC = torch.cat([weight * taste_UK for weight, taste_UK in parts], dim=1)
    return InnerProduct(user_UC, torch.cat(list(taste.content.values()), dim=1))
