"""A vector for a user from the items that the user has, without training: implicit ALS's step for one user.

    u = c (a V^T V + lambda I + V_h^T V_h)^-1 V_h^T 1

Observed pairs are drawn to 1 and all pairs, with weight a, to 0, as `squares` does in training (Hu, Koren & Volinsky,
ICDM 2008, equation 4). c makes folded vectors as long as trained ones, so that scores may be compared.

Shapes: V is (I, D), V_h its rows of the user's items, P pairs of a user and an item.
"""

from dataclasses import dataclass, replace

import numpy as np

UNOBSERVED = 10.0
"""Total weight of all user-item pairs, relative to the total weight of the observed pairs, as in training.

Chosen on validation with the next (`python -m bench.fold_in --search`, docs/decisions/0034-folding-in.md).
"""
L2 = 1.0
"""lambda, in mean diagonal entries of a V^T V."""
MOST_USERS = 2000
"""Drawn to measure c."""


@dataclass(frozen=True, kw_only=True)
class FoldIn:
    """What a release says of folding in."""

    pair_weight: float
    """a."""
    l2: float
    """lambda."""
    scale: float = 1.0
    """c."""
    cosine: float | None = None
    """Mean cosine of folded to trained vectors, of the users drawn."""

    @classmethod
    def of(cls, item_ID: np.ndarray, num_users: int, num_pairs: int) -> "FoldIn":
        """By the sizes of a catalogue alone."""
        pair_weight = UNOBSERVED * max(num_pairs, 1) / max(num_users * len(item_ID), 1)
        mean_diagonal = pair_weight * float(np.square(item_ID, dtype=np.float64).sum()) / item_ID.shape[1]
        return cls(pair_weight=pair_weight, l2=max(L2 * mean_diagonal, 1e-12))

    @classmethod
    def measured(cls, item_ID: np.ndarray, user_UD: np.ndarray, user_P: np.ndarray, item_P: np.ndarray) -> "FoldIn":
        """With c and the cosine, by trained users, of whom some are folded in.

        Args:
            user_P: of the pairs, in order.
            item_P: rows of `item_ID`.
        """
        plain = cls.of(item_ID, len(user_UD), len(user_P))
        users, first = np.unique(user_P, return_index=True)
        drawn = np.random.default_rng(0).permutation(len(users))[:MOST_USERS]
        parts = np.split(item_P, first[1:])
        if not len(drawn):
            return plain
        prior_DD = prior(item_ID, plain)
        folded_BD = np.stack([fold(item_ID[parts[place]], prior_DD) for place in drawn])
        trained_BD = user_UD[users[drawn]].astype(np.float64)
        lengths = np.linalg.norm(folded_BD, axis=1), np.linalg.norm(trained_BD, axis=1)
        if not all(length.any() for length in lengths):
            return plain
        cosine_B = (folded_BD * trained_BD).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-12)
        return replace(plain, scale=float(lengths[1].mean() / lengths[0].mean()), cosine=float(cosine_B.mean()))


def prior(item_ID: np.ndarray, fold_in: FoldIn) -> np.ndarray:
    """a V^T V + lambda I, float64 (D, D)."""
    wide_ID = item_ID.astype(np.float64)
    return fold_in.pair_weight * (wide_ID.T @ wide_ID) + fold_in.l2 * np.eye(item_ID.shape[1])


def fold(history_SD: np.ndarray, prior_DD: np.ndarray) -> np.ndarray:
    """u for c = 1, float64 (D,)."""
    wide_SD = history_SD.astype(np.float64)
    folded_D: np.ndarray = np.linalg.solve(prior_DD + wide_SD.T @ wide_SD, wide_SD.sum(0))
    return folded_D
