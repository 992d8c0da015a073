"""The training objective: ranking loss + L2 + contrastive term (MICRO, arXiv:2111.00678).

Shapes: D dimension, I items, P of them with a modality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from model.config import ObjectiveConfig, Weights
from model.contrastive import contrastive_loss
from model.micro import Vectors
from model.parallel import Columns
from model.ranking import RankingLoss


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
    weights: Weights,
    generator: Generator,
) -> Terms:
    """Evaluate the objective on one batch that `ranking_loss` drew.

    Args:
        modality_items: int64 (P,) each, the items that have each modality.
        weights: of the terms, for those of `config`, which may be `auto`.
    """
    ranking, l2 = ranking_loss.terms(vectors, batch, generator)
    contrastive = torch.zeros_like(ranking)
    if weights.contrastive_weight:
        for modality_ID, item_P in zip(vectors.modality_IMD.unbind(1), modality_items, strict=True):
            contrastive = contrastive + _contrast(
                modality_ID, vectors.fused_ID, item_P, config, generator, vectors.columns
            )
    return Terms(ranking + weights.l2 * l2 + weights.contrastive_weight * contrastive, ranking, contrastive)


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
