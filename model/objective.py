"""The training objective: BPR + L2 + contrastive term (method.md, section 5).

Shapes: B batch, D dimension, I items.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.contrastive import contrastive_loss
from model.gather import gather_rows
from model.micro import Vectors


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the objective's terms."""

    l2: float = 1e-5
    """Weight of half the squared norm of the batch's propagated vectors."""
    contrastive_weight: float = 0.03
    """Beta; 0 leaves the contrastive term out."""
    temperature: float = 0.5
    contrastive: Literal["sampled", "exact"] = "sampled"
    """`exact` contrasts every item with every other at each step, O(I^2 D)."""
    contrastive_samples: int = 512
    """Items drawn per step and modality for `sampled`; they are anchors and candidates at once."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.contrastive_samples < 2:
            raise ValueError(f"contrastive_samples must be at least 2, got {self.contrastive_samples}")


@dataclass(frozen=True)
class Terms:
    """The objective's terms, unweighted scalars but for `total`."""

    total: Tensor
    bpr: Tensor
    l2: Tensor
    contrastive: Tensor


def objective(
    vectors: Vectors,
    present_IM: Tensor,
    user_B: Tensor,
    seen_B: Tensor,
    unseen_B: Tensor,
    config: ObjectiveConfig,
    generator: Generator,
) -> Terms:
    """Evaluate the objective on one batch of triples (user, seen item, unseen item)."""
    user_BD = gather_rows(vectors.user_UD, user_B)
    seen_BD, unseen_BD = gather_rows(vectors.item_ID, seen_B), gather_rows(vectors.item_ID, unseen_B)
    bpr = bpr_loss((user_BD * seen_BD).sum(1), (user_BD * unseen_BD).sum(1))
    l2 = 0.5 * (user_BD.square().sum() + seen_BD.square().sum() + unseen_BD.square().sum()) / len(user_B)
    contrastive = bpr.new_zeros(())
    if config.contrastive_weight:
        for index in range(present_IM.shape[1]):
            modality_ID = vectors.modality_IMD[:, index]
            contrastive = contrastive + _contrast(
                modality_ID, vectors.fused_ID, present_IM[:, index], config, generator
            )
    total = bpr + config.l2 * l2 + config.contrastive_weight * contrastive
    return Terms(total, bpr, l2, contrastive)


def bpr_loss(seen_score_B: Tensor, unseen_score_B: Tensor) -> Tensor:
    """Bayesian personalised ranking, -log sigmoid of the score difference (arXiv:1205.2618), mean over the batch."""
    return F.softplus(unseen_score_B - seen_score_B).mean()


def _contrast(
    modality_ID: Tensor, fused_ID: Tensor, present_I: Tensor, config: ObjectiveConfig, generator: Generator
) -> Tensor:
    """Contrastive term of one modality, over all items that have it or over a uniform sample of them."""
    having = present_I.nonzero().squeeze(1)
    if config.contrastive == "exact" or len(having) <= config.contrastive_samples:
        exact_count = modality_ID.new_zeros(len(having))
        return contrastive_loss(modality_ID, fused_ID, having, having, exact_count, config.temperature)
    num_samples = config.contrastive_samples
    draw = torch.randint(len(having), (num_samples,), generator=generator, device=having.device)
    sample = having[draw]
    # Beside an anchor, num_samples - 1 independent draws: so often is any one other item expected.
    log_count = modality_ID.new_full((num_samples,), math.log((num_samples - 1) / len(having)))
    return contrastive_loss(modality_ID, fused_ID, sample, sample, log_count, config.temperature)
