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
    gram_II = torch.cat([count_CI for _, count_CI in shared_users(data)])
    gram_II.diagonal().add_(l2)
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(gram_II))
    weight_II = inverse_II / -inverse_II.diagonal()
    weight_II.fill_diagonal_(0)
    return HistoryScorer(history_of(data), weight_II)
