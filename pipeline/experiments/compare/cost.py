"""Memory and time of a row of the comparison, said before it is measured.

Shapes: U users, I items, T training interactions.
"""

import time
from dataclasses import dataclass
from functools import cache

import torch

from model.baselines.history import BLOCK_ELEMENTS
from model.data import TrainingData

FLOAT = 4  # bytes
MIB, GIB = 1 << 20, 1 << 30
SAMPLE_SIZE = 1024


@dataclass(frozen=True)
class Cost:
    """Of one choice."""

    memory_bytes: int
    """Beside the data, and with what is kept of the best choice so far."""
    seconds: float | None = None
    """None: not known before."""


def nothing(data: TrainingData) -> Cost:
    """Of what takes no memory to speak of."""
    return Cost(0)


def neighbours_cost(data: TrainingData) -> Cost:
    """Weights of items by items, of this choice and of the best so far, and three blocks; features on their way."""
    width = sum(feature_ID.shape[1] for feature_ID in data.features.values())
    return Cost(2 * _matrix(data) + 3 * _block(data) + 4 * data.num_items * width * FLOAT)


def taste_cost(data: TrainingData) -> Cost:
    """Content vectors of everyone, of this choice and of the best so far, and on the way."""
    width = sum(feature_ID.shape[1] for feature_ID in data.features.values())
    return Cost(4 * (data.num_users + data.num_items) * width * FLOAT)


def ease_cost(data: TrainingData) -> Cost:
    """Three matrices of items by items, one of them the best so far's, and a block; time is the cube of a sample's."""
    return Cost(3 * _matrix(data) + _block(data), (data.num_items / SAMPLE_SIZE) ** 3 * _seconds_of_sample())


def _matrix(data: TrainingData) -> int:
    return data.num_items**2 * FLOAT


def _block(data: TrainingData) -> int:
    return min(BLOCK_ELEMENTS * FLOAT, _matrix(data))


@cache
def _seconds_of_sample() -> float:
    """What a small EASE takes here and now: once to warm up, the faster of two then."""
    matrix_II = torch.eye(SAMPLE_SIZE)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        torch.cholesky_inverse(torch.linalg.cholesky(matrix_II))
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
