"""L2 of the vectors of a batch, scaled by how often each takes part (Rendle et al., arXiv:2110.14037, section 4).

Of a user with n_u interactions and an item with n_i, one counts n_u^(v-1) |e_u|^2 + n_i^(v-1) |e_i|^2, so that over
an epoch a vector counts n^v times: as often as it takes part with v = 1, once with v = 0.
Shapes: P vectors, D dimension, U users, I items.
"""

import torch
from torch import Tensor

from model.data import TrainingData


class L2:
    """The scale of every user and item of one set of training interactions."""

    def __init__(self, data: TrainingData, exponent: float) -> None:
        """Args: v, in [0, 1]."""
        self._scale_U = _scale(data.user_T, data.num_users, exponent)
        self._scale_I = _scale(data.item_T, data.num_items, exponent)

    def users(self, vector_PD: Tensor, user_P: Tensor) -> Tensor:
        """Scaled squared norms, float (P,)."""
        return vector_PD.square().sum(1) * self._scale_U[user_P]

    def items(self, vector_PD: Tensor, item_P: Tensor) -> Tensor:
        """Scaled squared norms, float (P,)."""
        return vector_PD.square().sum(1) * self._scale_I[item_P]


def _scale(index_T: Tensor, size: int, exponent: float) -> Tensor:
    return torch.bincount(index_T, minlength=size).clamp(min=1).float() ** (exponent - 1)
