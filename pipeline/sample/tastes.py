"""Interactions that follow from taste over the hidden factors, popularity and chance.

Shapes: U users, I items, F = 3 factors.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from pipeline.sample.families import COLOUR_NAMES, TEXTURE_NAMES, TYPE_NAMES, Families

FIRST_SECOND = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
SECONDS_PER_YEAR = 365 * 24 * 3600
_FEWEST, _MOST = 15, 25
_STRENGTHS = (2.4, 1.6, 1.0)  # log-odds that a liked type, colour, texture adds
_LIKED = ((2, 3), (2, 3), (1, 2))  # how many of each a user likes, at least and at most


@dataclass(frozen=True)
class Interactions:
    """R interactions, sorted by user and time."""

    user_R: np.ndarray
    item_R: np.ndarray
    rating_R: np.ndarray
    """float64, 1 to 5."""
    second_R: np.ndarray
    """int64, seconds since 1970 (UTC)."""


def draw_likes(num_users: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Which types, colours and textures each user likes: three bool matrices (U, number of values)."""
    likes = []
    for names, (fewest, most) in zip((TYPE_NAMES, COLOUR_NAMES, TEXTURE_NAMES), _LIKED, strict=True):
        rank = rng.random((num_users, len(names))).argsort(axis=1).argsort(axis=1)
        likes.append(rank < rng.integers(fewest, most + 1, size=(num_users, 1)))
    return tuple(likes)


def draw_interactions(families: Families, likes: tuple[np.ndarray, ...], rng: np.random.Generator) -> Interactions:
    """Each user's items are a draw without replacement, by the Gumbel-top-k rule, from softmax(taste + appeal)."""
    factors = families.factor_IF.T
    taste_UI = sum(
        strength * liked[:, value] for strength, liked, value in zip(_STRENGTHS, likes, factors, strict=True)
    )
    assert isinstance(taste_UI, np.ndarray)
    utility_UI = taste_UI + families.appeal_I + rng.gumbel(size=taste_UI.shape)
    utility_UI[:, sorted(families.never_bought)] = -np.inf
    available = len(families.factor_IF) - len(families.never_bought)
    count_U = np.minimum(rng.integers(_FEWEST, _MOST + 1, size=len(taste_UI)), available // 2)
    user_R = np.repeat(np.arange(len(taste_UI)), count_U)
    item_R = np.concatenate([np.argsort(-row)[:count] for row, count in zip(utility_UI, count_U, strict=True)])
    rating_R = 1.9 + 0.6 * taste_UI[user_R, item_R] + rng.normal(0, 0.7, size=len(user_R))
    second_R = FIRST_SECOND + rng.integers(SECONDS_PER_YEAR, size=len(user_R))
    order = np.lexsort((item_R, second_R, user_R))
    return Interactions(user_R[order], item_R[order], np.clip(np.round(rating_R), 1, 5)[order], second_R[order])
