"""Chance: a random order of the items for every user. Any model has to be better."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.data import TrainingData

SPREAD = 1_000_003  # a generator takes 32 bits of its seed: users of one seed and of the next must not meet


@dataclass(frozen=True)
class RandomScorer:
    """Scores drawn for each user by seed and user: the same at every call."""

    num_items: int
    seed: int

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        seeds = [self.seed * SPREAD + user for user in user_B.tolist()]
        return torch.stack([torch.rand(self.num_items, generator=Generator().manual_seed(seed)) for seed in seeds])


def chance(data: TrainingData, seed: int) -> RandomScorer:
    """Prepare the draw."""
    return RandomScorer(data.num_items, seed)
