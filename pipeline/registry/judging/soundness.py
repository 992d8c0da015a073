"""Rows of the gate on the vectors themselves: numbers at all, zeros, and lengths. They need no interaction."""

import torch
from torch import Tensor

from pipeline.registry.judging.contender import Contender
from pipeline.release.verdict import NOT_JUDGED, PASSED, REFUSED, Row

MOST_ZERO_RISE = 0.05
"""Largest rise of the share of zero vectors over the champion's."""
MOST_ZERO = 0.5
"""Largest share of zero vectors without a champion."""
LEAST_NORM = 0.1
"""Least median norm of the items, relative to the champion's. No change of settings that we know falls below it."""


def finite_row(candidate: Contender) -> Row:
    """No vector holds NaN or an infinite value."""
    broken = sum(int((~matrix.isfinite().all(1)).sum()) for matrix in (candidate.user_UD, candidate.item_ID))
    return Row(
        name="finite vectors",
        verdict=REFUSED if broken else PASSED,
        figure=broken,
        limit=0,
        note="vectors of users and items that hold NaN or infinite values",
    )


def zero_row(candidate: Contender, champion: Contender | None) -> Row:
    """The share of zero vectors, which rank nothing, has not risen."""
    share = _zero_share(candidate)
    limit = MOST_ZERO if champion is None else _zero_share(champion) + MOST_ZERO_RISE
    return Row(
        name="zero vectors",
        verdict=REFUSED if share > limit else PASSED,
        figure=share,
        limit=limit,
        margin=limit - share,
        percent=True,
        note="share of the vectors of users and items; they rank nothing"
        + ("" if champion is None else f". Limit: the champion's share and {MOST_ZERO_RISE:.0%} more"),
    )


def norm_row(candidate: Contender, champion: Contender) -> Row:
    """The items' median norm has not collapsed."""
    own, before = _median_norm(candidate.item_ID), _median_norm(champion.item_ID)
    if not before > 0:
        return Row(name="median item norm", verdict=NOT_JUDGED, note="the champion's is 0")
    return Row(
        name="median item norm",
        verdict=REFUSED if own < LEAST_NORM * before else PASSED,
        figure=own / before,
        limit=LEAST_NORM,
        margin=own / before - LEAST_NORM,
        note="relative to the champion's; vectors that shrink to nothing have collapsed",
    )


def _zero_share(contender: Contender) -> float:
    zero = [int((matrix == 0).all(1).sum()) for matrix in (contender.user_UD, contender.item_ID)]
    return sum(zero) / max(1, len(contender.user_UD) + len(contender.item_ID))


def _median_norm(item_ID: Tensor) -> float:
    return float(torch.linalg.vector_norm(item_ID, dim=1).median()) if len(item_ID) else 0.0
