"""Chance: a random order of the items for every user, what any model has to be above."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.data import TrainingData


@dataclass(frozen=True)
class RandomScorer:
    """Scores drawn anew at every call."""

    num_items: int
    generator: Generator

    def scores(self, user_B: Tensor) -> Tensor:
        """Return float32 (B, I)."""
        return torch.rand(len(user_B), self.num_items, generator=self.generator)


def chance(data: TrainingData, seed: int) -> RandomScorer:
    """Prepare the draw."""
    return RandomScorer(data.num_items, Generator().manual_seed(seed))
