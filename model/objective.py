"""The training objective: ranking loss + L2 + contrastive term (MICRO, arXiv:2111.00678).

Shapes: D dimension, I items, P of them with a modality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from model.contrastive import contrastive_loss
from model.micro import Vectors
from model.parallel import Columns
from model.ranking import RankingLoss


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the objective's terms."""

    ranking: Literal["squares", "softmax", "bpr"] = "squares"
    """`squares` takes every pair of a user and an item, as implicit ALS does; `softmax` ranks above many items at once,
    `bpr` above one unseen item per interaction, as the paper does. Each wants weights of its own."""
    softmax_candidates: int = 8192
    """Items in the softmax's denominator: all trained ones where there are no more, else a sample per step."""
    unobserved_weight: float = 10.0
    """What all pairs of a user and an item weigh together in `squares`, in the weight of the observed ones together."""
    l2: float = 2.3
    """Weight of half the squared norm of the batch's propagated vectors, per interaction."""
    l2_exponent: float = 0.5
    """To which power of its interactions a vector is regularised: 1, as often as it takes part; 0, all alike."""
    contrastive_weight: float = 0.003
    """Beta; 0 leaves the contrastive term out."""
    temperature: float = 0.5
    contrastive: Literal["sampled", "exact"] = "sampled"
    """`exact` contrasts every item with every other at each step, O(I^2 D)."""
    contrastive_samples: int = 512
    """Items drawn per step and modality for `sampled`; they are anchors and candidates at once."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        for name in ("contrastive_samples", "softmax_candidates"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0 <= self.l2_exponent <= 1:
            raise ValueError(f"l2_exponent must lie in [0, 1], got {self.l2_exponent}")
        for name in ("l2", "contrastive_weight", "unobserved_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Terms:
    """The objective's terms, unweighted scalars but for `total`."""

    total: Tensor
    ranking: Tensor
    contrastive: Tensor


def objective(
    vectors: Vectors,
    modality_items: Sequence[Tensor],
    ranking_loss: RankingLoss,
    batch: Any,
    config: ObjectiveConfig,
    generator: Generator,
) -> Terms:
    """Evaluate the objective on one batch that `ranking_loss` drew.

    Args:
        modality_items: int64 (P,) each, the items that have each modality.
    """
    ranking, l2 = ranking_loss.terms(vectors, batch, generator)
    contrastive = torch.zeros_like(ranking)
    if config.contrastive_weight:
        for modality_ID, item_P in zip(vectors.modality_IMD.unbind(1), modality_items, strict=True):
            contrastive = contrastive + _contrast(
                modality_ID, vectors.fused_ID, item_P, config, generator, vectors.columns
            )
    return Terms(ranking + config.l2 * l2 + config.contrastive_weight * contrastive, ranking, contrastive)


def _contrast(
    modality_ID: Tensor,
    fused_ID: Tensor,
    item_P: Tensor,
    config: ObjectiveConfig,
    generator: Generator,
    columns: Columns,
) -> Tensor:
    """Contrastive term of one modality, over all items that have it or over a uniform sample of them."""
    if config.contrastive == "exact" or len(item_P) <= config.contrastive_samples:
        exact_count = modality_ID.new_zeros(len(item_P))
        return contrastive_loss(modality_ID, fused_ID, item_P, item_P, exact_count, config.temperature, columns)
    num_samples = config.contrastive_samples
    draw = torch.randint(len(item_P), (num_samples,), generator=generator, device=item_P.device)
    sample = item_P[draw]
    # Beside an anchor, num_samples - 1 independent draws: so often is any one other item expected.
    log_count = modality_ID.new_full((num_samples,), math.log((num_samples - 1) / len(item_P)))
    return contrastive_loss(modality_ID, fused_ID, sample, sample, log_count, config.temperature, columns)
