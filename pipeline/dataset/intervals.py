"""Means over users with 95 % confidence intervals. Users are the sampling unit: they are independent, a user's pairs
are not. Shapes: Q users.
"""

import math
from statistics import NormalDist

import numpy as np

from pipeline.dataset.records import Figure

CONFIDENCE = 0.95
FEWEST_USERS = 30
"""With fewer an interval would promise more than it can hold."""
_HALF_WIDTH = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def figure(value_Q: np.ndarray) -> Figure:
    """Mean of one value a user, of one user at least.

    Of shares of users, values 0 and 1, the interval is Wilson's (JASA 22, 1927), which is honest near 0 and 1; of other
    values the normal one, mean +- z s / sqrt(Q).
    """
    users, value = len(value_Q), float(value_Q.mean())
    if users < FEWEST_USERS:
        return Figure(value=value, users=users)
    is_share = bool(np.isin(value_Q, (0, 1)).all())
    return Figure(value=value, users=users, interval=_wilson(value, users) if is_share else _normal(value_Q, value))


def _normal(value_Q: np.ndarray, value: float) -> tuple[float, float]:
    half = _HALF_WIDTH * float(value_Q.std(ddof=1)) / math.sqrt(len(value_Q))
    return value - half, value + half


def _wilson(share: float, users: int) -> tuple[float, float]:
    squared = _HALF_WIDTH**2
    centre = (share + squared / (2 * users)) / (1 + squared / users)
    half = math.sqrt(share * (1 - share) / users + squared / (4 * users**2)) * _HALF_WIDTH / (1 + squared / users)
    return max(0.0, centre - half), min(1.0, centre + half)
