"""Estimates with confidence intervals from one value a user: a mean, and the relative difference of two means.

Users are the sampling unit: they are independent, a user's pairs are not. Intervals are normal ones, for the ratio by
the delta method: nothing is drawn, and the same figures always give the same verdict. Shapes: Q users.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

FEWEST_USERS = 30
"""With fewer, a normal interval is too narrow, and nothing is judged by it."""
POWER = 0.95
"""Probability that the gate refuses a fall that is called detectable."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over users."""

    value: float
    error: float
    """Its standard error."""
    confidence: float
    users: int

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided, of the estimate's confidence."""
        half = quantile(self.confidence) * self.error
        return self.value - half, self.value + half


def quantile(confidence: float) -> float:
    """Half width, in standard errors, of a two-sided normal interval."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def mean(value_Q: np.ndarray, confidence: float) -> Estimate | None:
    """Mean over users, standard error s / sqrt(Q); None for too few users."""
    if len(value_Q) < FEWEST_USERS:
        return None
    error = float(value_Q.std(ddof=1)) / math.sqrt(len(value_Q))
    return Estimate(value=float(value_Q.mean()), error=error, confidence=confidence, users=len(value_Q))


def relative_difference(new_Q: np.ndarray, old_Q: np.ndarray, confidence: float) -> Estimate | None:
    """Relative difference r = mean(new) / mean(old) - 1 of two models on the same users.

    Its variance is that of the ratio estimator (Cochran, Sampling Techniques, 3rd ed. 1977, section 6.3), the delta
    method on paired values:

        var(r) = var(new_q - (1 + r) old_q) / (Q mean(old)^2)

    Returns None for too few users, or where the old model's mean is 0.
    """
    if len(new_Q) < FEWEST_USERS or not old_Q.mean() > 0:
        return None
    ratio = float(new_Q.mean() / old_Q.mean())
    deviation = float((new_Q - ratio * old_Q).std(ddof=1))
    error = deviation / (math.sqrt(len(new_Q)) * float(old_Q.mean()))
    return Estimate(value=ratio - 1, error=error, confidence=confidence, users=len(new_Q))


def detectable_fall(estimate: Estimate, allowed: float) -> float:
    """The smallest fall, as a negative share, that is refused in `POWER` of all nights with this standard error.

    A fall f is refused where f + z_c e < -allowed for the half width z_c e of the interval; its estimate lies below
    f + z_p e in `POWER` of all nights.
    """
    return -allowed - (quantile(estimate.confidence) + NormalDist().inv_cdf(POWER)) * estimate.error
