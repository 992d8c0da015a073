"""Taste in content: a user is the mean direction of what the user has.

    p_u = unit(sum of x_i over u's training items), score(u, i) = sum over modalities of share_m p_u,m . x_i,m

with x_i as in `model.baselines.content`. It is an inner product, so items without interactions are ranked like others.
Shapes: U users, I items, C dimensions of all modalities.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from model.baselines.content import content_parts
from model.data import TrainingData
from model.evaluation import InnerProduct
from model.sparse import EdgePattern


def content_taste(
    data: TrainingData, shares: Mapping[str, float], power: float = 0.0, dimensions: int | None = None
) -> InnerProduct:
    """Sum up what every user has.

    Args:
        data: the training interactions and the features.
        shares: what each modality counts.
        power: 0 for content that is centred only, else whitened.
        dimensions: kept of each modality; None: all.
    """
    pattern = EdgePattern(data.user_T, data.item_T, (data.num_users, data.num_items))
    item_of_user = pattern.matrix(torch.ones(len(data.user_T), device=data.user_T.device))
    parts = content_parts(data, shares, power, dimensions)
    user_UC = torch.cat([share * F.normalize(item_of_user @ item_IC, dim=1) for share, item_IC in parts], dim=1)
    return InnerProduct(user_UC, torch.cat([item_IC for _, item_IC in parts], dim=1))
