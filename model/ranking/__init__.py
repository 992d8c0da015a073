"""Ranking losses, by name: what makes a user's items score above the others.

A new one is one file here, one line below and a name in `model.config`.
"""

from collections.abc import Callable

from model.config import ObjectiveConfig, RankingName
from model.data import TrainingData
from model.ranking.bpr import BprLoss
from model.ranking.loss import RankingLoss
from model.ranking.softmax import SoftmaxLoss
from model.ranking.squares import SquaresLoss

__all__ = ["RANKING_LOSSES", "RankingLoss", "make_ranking_loss"]

RANKING_LOSSES: dict[RankingName, Callable[[TrainingData, ObjectiveConfig], RankingLoss]] = {
    "squares": SquaresLoss,
    "softmax": SoftmaxLoss,
    "bpr": BprLoss,
}


def make_ranking_loss(data: TrainingData, config: ObjectiveConfig) -> RankingLoss:
    """Prepare the configured loss on the training interactions.

    Raises `ValueError` when there is nothing to rank below what users have.
    """
    return RANKING_LOSSES[config.ranking](data, config)
