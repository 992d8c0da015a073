"""The rotation that brings one night's vectors into another's space: orthogonal Procrustes (Schönemann 1966).

    R = argmin over orthogonal R of  sum over the sides s of |X_s R - Y_s|^2 / (|X_s| |Y_s|)  =  P Q^T
    with P S Q^T the singular value decomposition of  sum over s of X_s^T Y_s / (|X_s| |Y_s|)

for the rows that both know, X of tonight and Y of then; the sides are users and items. An inner product of two rotated
vectors is what it was, so no score changes; that successive trainings differ by little more than a rotation is what
*Orthogonal Low Rank Embedding Stabilization* (arXiv:2508.07574) builds on. Both sides weigh alike, however many users
there are to an item and however a training shares the length of a score between them; within a side a long vector
weighs more, as it does in scores. All sums are float64.

Shapes: R rows, D dimension.
"""

from collections.abc import Sequence

import numpy as np

BLOCK_ROWS = 1 << 16
TOLERANCE = 1e-6
"""Of a row's length: what lies nearer is the same vector, twice rounded."""
Side = tuple[np.ndarray, np.ndarray]
"""Tonight's rows and those of then, float32 (R, D) each, in the same order."""


def procrustes(sides: Sequence[Side]) -> np.ndarray:
    """The rotation, float64 (D, D): tonight's rows times it come nearest to those of then."""
    dim = sides[0][0].shape[1]
    cross_DD = np.zeros((dim, dim))
    for now_RD, then_RD in sides:
        length = np.sqrt(np.trace(moments(now_RD, now_RD)) * np.trace(moments(then_RD, then_RD)))
        if length > 0:
            cross_DD += moments(now_RD, then_RD) / length
    left_DD, _, right_DD = np.linalg.svd(cross_DD)
    rotation_DD: np.ndarray = left_DD @ right_DD
    return rotation_DD


def moments(one_RD: np.ndarray, other_RD: np.ndarray) -> np.ndarray:
    """one^T other, float64 (D, D), of float32 rows; a block of them is held at a time."""
    total_DD = np.zeros((one_RD.shape[1], other_RD.shape[1]))
    for start in range(0, len(one_RD), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        total_DD += one_RD[rows].astype(np.float64).T @ other_RD[rows].astype(np.float64)
    return total_DD


def rotated(vector_RD: np.ndarray, rotation_DD: np.ndarray) -> np.ndarray:
    """Rows times a rotation, rounded to float32 once."""
    turned_RD = np.empty(vector_RD.shape, dtype=np.float32)
    for start in range(0, len(vector_RD), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        turned_RD[rows] = vector_RD[rows].astype(np.float64) @ rotation_DD
    return turned_RD


def settled(vector_RD: np.ndarray, then_RD: np.ndarray) -> np.ndarray:
    """The rows, those of then to the last bit where they are the same up to rounding.

    Parameters that have not changed then give vectors that have not changed, and a delta without them.
    """
    distance_R = np.linalg.norm(vector_RD - then_RD, axis=1)
    same_R = distance_R <= TOLERANCE * np.linalg.norm(then_RD, axis=1)
    return np.where(same_R[:, None], then_RD, vector_RD)


def residual(now_RD: np.ndarray, then_RD: np.ndarray) -> float:
    """Share |now - then| / |then| that no rotation takes away; 0 for no rows."""
    length = float(np.linalg.norm(then_RD))
    return float(np.linalg.norm(now_RD - then_RD)) / length if length > 0 else 0.0


def score_length(users_RD: np.ndarray, items_RD: np.ndarray) -> float:
    """Root mean square of the scores of all pairs of a user and an item, from D x D moments."""
    pairs = len(users_RD) * len(items_RD)
    total = float(np.sum(moments(users_RD, users_RD) * moments(items_RD, items_RD)))
    return float(np.sqrt(max(0.0, total) / pairs)) if pairs else 0.0
