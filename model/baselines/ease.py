"""EASE: a linear autoencoder in closed form (Steck, arXiv:1905.03375).

    P = (X^T X + l2 I)^-1,  B_ij = -P_ij / P_jj for i != j,  B_jj = 0,  scores = X B

Memory and time are those of an I x I inverse. Shapes: I items.
"""

import torch

from model.baselines.history import HistoryScorer, history_of, shared_users
from model.data import TrainingData


def ease(data: TrainingData, l2: float) -> HistoryScorer:
    """Solve for the weights.

    Args:
        data: the training interactions; content is not used.
        l2: weight of the squared weights, > 0.

    Raises `torch.linalg.LinAlgError` where l2 is too small for the matrix to be inverted in float32.
    """
    matrix_II = torch.empty(data.num_items, data.num_items, device=data.item_T.device)  # at most three at once
    for item_C, count_CI in shared_users(data):
        matrix_II[item_C] = count_CI
    matrix_II.diagonal().add_(l2)
    matrix_II = torch.linalg.cholesky(matrix_II)
    weight_II = torch.cholesky_inverse(matrix_II)
    weight_II /= -weight_II.diagonal().clone()
    weight_II.fill_diagonal_(0)
    return HistoryScorer(history_of(data), weight_II)
