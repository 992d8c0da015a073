"""Matrix factorisation by the library `implicit`: ALS (Hu, Koren & Volinsky 2008) and BPR, as others run them.

Shapes: U users, I items, D factors.
"""

from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from model.data import TrainingData
from model.divergence import DivergedError
from model.evaluation import InnerProduct

ALS_ITERATIONS = 15


def als(data: TrainingData, seed: int, *, factors: int, alpha: float, regularization: float) -> InnerProduct:
    """Weighted least squares: an interaction has confidence `alpha`, every other pair 1.

    Args:
        data: the training interactions; content and weights are not used.
        seed: of the initial factors.
        factors: D.
        alpha: above 0.
        regularization: weight of the squared factors, not multiplied by anybody's interactions.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    with threadpool_limits(1, "blas"):  # its own threads share out the rows; BLAS's only get in their way
        model = AlternatingLeastSquares(
            factors=factors, alpha=alpha, regularization=regularization, iterations=ALS_ITERATIONS, random_state=seed
        )
        return _fit(model, data)


def bpr(
    data: TrainingData, seed: int, *, factors: int, learning_rate: float, regularization: float, iterations: int
) -> InnerProduct:
    """BPR by stochastic gradient descent; one factor more is the item's bias, as the library has it.

    Args:
        data: the training interactions; content and weights are not used.
        seed: of the initial factors and the draws.
        factors: D.
        learning_rate: of plain gradient descent.
        regularization: weight of the squared factors, at every step.
        iterations: passes over the interactions.
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=factors,
        learning_rate=learning_rate,
        regularization=regularization,
        iterations=iterations,
        random_state=seed,
        num_threads=1,  # with more, its updates race and the same seed gives other vectors
    )
    return _fit(model, data)


def _fit(model: Any, data: TrainingData) -> InnerProduct:
    from implicit.recommender_base import ModelFitError
    from scipy.sparse import csr_matrix

    pairs = (data.user_T.numpy(), data.item_T.numpy())
    interactions = csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape=(data.num_users, data.num_items))
    try:
        model.fit(interactions, show_progress=False)
    except ModelFitError as error:
        raise DivergedError(str(error)) from error
    return InnerProduct(torch.from_numpy(model.user_factors.copy()), torch.from_numpy(model.item_factors.copy()))
