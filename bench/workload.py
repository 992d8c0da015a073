"""Inputs of a given shape from a seed, with the degrees of real data, and MovieLens where it is at hand.

Degrees follow power laws, as in shop data: few items gather most interactions, most users have a handful.
Users like a few families of items, and an item's features show its family through noise, so that a model has
something to learn. Shapes: P pairs, U users, I items, D dimension.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from model.allocator import freed_memory_kept
from model.config import ModelConfig, ObjectiveConfig, TrainConfig
from model.data import HeldOut, TrainingData
from model.micro import Micro
from model.training import Trainer

ITEM_EXPONENT = 0.8  # popularity of the r-th item is proportional to r ** -ITEM_EXPONENT
USER_EXPONENT = 0.6
FAMILY_SHARE = 0.7  # share of a user's interactions that fall into the families liked
FAMILIES_LIKED = 3
ITEMS_PER_FAMILY = 40
NOISE = 1.0  # standard deviation of a feature around its family's centre, whose own is 1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Counts of a data set."""

    name: str
    num_users: int
    num_items: int
    num_pairs: int
    """Training interactions."""
    features: dict[str, int] = field(default_factory=lambda: {"image": 4096, "text": 1024})
    """Modality to dimension."""

    def times(self, factor: float, name: str) -> "Shape":
        """The same shape with users, items and interactions multiplied."""
        counts = {key: round(getattr(self, key) * factor) for key in ("num_users", "num_items", "num_pairs")}
        return replace(self, name=name, **counts)


BABY = Shape(name="baby", num_users=19_445, num_items=7_050, num_pairs=119_674)
CLOTHING = Shape(name="clothing", num_users=39_387, num_items=23_033, num_pairs=197_338)
MILLION = Shape(
    name="million", num_users=1_000_000, num_items=1_000_000, num_pairs=10_000_000, features={"content": 64}
)
MODEL = ModelConfig(content_weight=1.0)
SOFTMAX = TrainConfig(
    device="cpu",
    learning_rate=5e-3,
    objective=ObjectiveConfig(ranking="softmax", l2=0.02, l2_exponent=1.0, contrastive_weight=0.03),
)
"""What trainings are timed with: its step computes scores, which the default loss, the squared error, need not."""
HELD_OUT_SHARE = 0.1  # validation pairs beside the training ones


def make(shape: Shape, seed: int = 0, device: str = "cpu") -> tuple[TrainingData, HeldOut]:
    """Training data of exactly this shape, and held-out pairs (a tenth as many) from the same tastes."""
    generator = Generator(device).manual_seed(seed)
    num_families = max(2, shape.num_items // ITEMS_PER_FAMILY)
    family_I = torch.randint(num_families, (shape.num_items,), generator=generator, device=device)
    num_held = round(shape.num_pairs * HELD_OUT_SHARE)
    key_P = _distinct_pairs(shape, family_I, num_families, shape.num_pairs + num_held, generator)
    user_P, item_P = key_P // shape.num_items, key_P % shape.num_items
    data = TrainingData(
        num_users=shape.num_users,
        num_items=shape.num_items,
        user_T=user_P[num_held:],
        item_T=item_P[num_held:],
        features={
            name: _features(family_I, num_families, dim, generator) for name, dim in sorted(shape.features.items())
        },
        present={name: torch.ones(shape.num_items, dtype=torch.bool, device=device) for name in shape.features},
    )
    return data, HeldOut(user_P=user_P[:num_held], item_P=item_P[:num_held])


def make_trainer(data: TrainingData, held_out: HeldOut | None, config: TrainConfig) -> Trainer[Micro]:
    """A trainer of the model that is timed, with the allocator's settings that the pipeline trains with."""
    return Trainer(data, held_out, MODEL, config, Micro, freed_memory_kept)


def _features(family_I: Tensor, num_families: int, dim: int, generator: Generator) -> Tensor:
    centre = torch.randn(num_families, dim, generator=generator, device=family_I.device)
    noise = torch.randn(len(family_I), dim, generator=generator, device=family_I.device)
    return noise.mul_(NOISE).add_(centre[family_I])


def _distinct_pairs(shape: Shape, family_I: Tensor, num_families: int, num_pairs: int, generator: Generator) -> Tensor:
    """Keys `user * num_items + item`, in random order, each once."""
    tastes = _Tastes(shape, family_I, num_families, generator)
    key_P = torch.zeros(0, dtype=torch.int64, device=family_I.device)
    while len(key_P) < num_pairs:
        wanted = num_pairs - len(key_P)
        key_P = torch.unique(torch.cat([key_P, tastes.draw(wanted + wanted // 4 + 64, generator)]))
    return key_P[torch.randperm(len(key_P), generator=generator, device=key_P.device)[:num_pairs]]


class _Tastes:
    """Draws (user, item) keys: users by activity, items by popularity within a liked family or overall."""

    def __init__(self, shape: Shape, family_I: Tensor, num_families: int, generator: Generator) -> None:
        self.num_items, device = shape.num_items, family_I.device
        self.activity_U = _power_law(shape.num_users, USER_EXPONENT, generator, device).cumsum(0)
        popularity_I = _power_law(shape.num_items, ITEM_EXPONENT, generator, device)
        self.order_I = torch.argsort(family_I)
        self.cumulated_I = popularity_I[self.order_I].cumsum(0)
        count_F = torch.bincount(family_I, minlength=num_families)
        end_F = count_F.cumsum(0)
        padded = torch.cat([self.cumulated_I.new_zeros(1), self.cumulated_I])
        self.low_F, self.high_F = padded[end_F - count_F], padded[end_F]
        nonempty = count_F.nonzero().squeeze(1)
        draw = torch.randint(len(nonempty), (shape.num_users, FAMILIES_LIKED), generator=generator, device=device)
        self.liked_UF = nonempty[draw]

    def draw(self, number: int, generator: Generator) -> Tensor:
        """Return int64 keys (number,)."""
        device = self.order_I.device
        uniform = torch.rand(4, number, generator=generator, device=device, dtype=torch.float64)
        user = torch.searchsorted(self.activity_U, uniform[0] * self.activity_U[-1]).clamp(max=len(self.activity_U) - 1)
        family = self.liked_UF[user, (uniform[1] * FAMILIES_LIKED).long()]
        inside = uniform[2] < FAMILY_SHARE
        low = torch.where(inside, self.low_F[family], 0.0)
        high = torch.where(inside, self.high_F[family], self.cumulated_I[-1])
        place = torch.searchsorted(self.cumulated_I, low + uniform[3] * (high - low), right=True)
        return user * self.num_items + self.order_I[place.clamp(max=self.num_items - 1)]


def _power_law(size: int, exponent: float, generator: Generator, device: torch.device) -> Tensor:
    """Weights r ** -exponent of the ranks 1..size in random order, float64."""
    weight = torch.arange(1, size + 1, dtype=torch.float64, device=device) ** -exponent
    return weight[torch.randperm(size, generator=generator, device=device)]


def movielens_folder() -> Path | None:
    """Where MovieLens lies (`MICROREC_MOVIELENS`, or beside the repository), None where it is not at hand."""
    folder = Path(os.environ.get("MICROREC_MOVIELENS", "../shared/data/movielens"))
    return folder if folder.is_dir() else None
