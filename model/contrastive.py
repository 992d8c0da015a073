"""Contrastive fusion loss (method.md, section 3; MICRO, arXiv:2111.00678, equation 11).

    l_m(i) = -log  exp(s(h_mi, h_i)/t) / ( sum_j exp(s(h_mi, h_j)/t) + sum_{j != i} exp(s(h_mi, h_mj)/t) )

with s the cosine and t the temperature. One function serves both forms: with every item as anchor and as
candidate it is exact; with sampled candidates the two sums are importance-weighted estimates (the logQ
correction), in which the positive pair always stands with its exact weight.
Shapes: I items, A anchors, C candidates, D dimension.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.gather import gather_rows

CHUNK_ELEMENTS = 1 << 24  # similarities held at once (64 MiB of float32); the backward pass recomputes them


def contrastive_loss(
    modality_ID: Tensor,
    fused_ID: Tensor,
    anchor_A: Tensor,
    candidate_C: Tensor,
    log_count_C: Tensor,
    temperature: float,
) -> Tensor:
    """Mean of l_m(i) over the anchors, for one modality.

    Args:
        modality_ID, fused_ID: h_m and h of all items, of any length (normalised here).
        anchor_A: int64, items to average over. Must have the modality.
        candidate_C: int64, items that the denominator's sums run over. Must have the modality.
        log_count_C: log of how often each candidate was expected to be drawn; 0 where each item stands once.
        temperature: t > 0.

    Returns:
        Scalar; 0 without anchors.
    """
    if not len(anchor_A):
        return modality_ID.sum() * 0
    query_AD = F.normalize(gather_rows(modality_ID, anchor_A), dim=1) / temperature
    positive_A = (query_AD * F.normalize(gather_rows(fused_ID, anchor_A), dim=1)).sum(1)
    candidate_fused_CD = F.normalize(gather_rows(fused_ID, candidate_C), dim=1)
    candidate_modality_CD = F.normalize(gather_rows(modality_ID, candidate_C), dim=1)
    chunk = max(1, CHUNK_ELEMENTS // max(1, len(candidate_C)))
    total = modality_ID.new_zeros(())
    for start in range(0, len(anchor_A), chunk):
        part = slice(start, start + chunk)
        arguments = (
            query_AD[part], positive_A[part], anchor_A[part],
            candidate_fused_CD, candidate_modality_CD, candidate_C, log_count_C,
        )  # fmt: skip
        single = len(anchor_A) <= chunk
        total = total + (
            _chunk_loss(*arguments) if single else checkpoint(_chunk_loss, *arguments, use_reentrant=False)
        )
    return total / len(anchor_A)


def _chunk_loss(
    query_AD: Tensor,
    positive_A: Tensor,
    anchor_A: Tensor,
    fused_CD: Tensor,
    modality_CD: Tensor,
    candidate_C: Tensor,
    log_count_C: Tensor,
) -> Tensor:
    own_AC = anchor_A[:, None] == candidate_C[None, :]
    fused_AC = (query_AD @ fused_CD.T - log_count_C).masked_fill(own_AC, -torch.inf)
    modality_AC = (query_AD @ modality_CD.T - log_count_C).masked_fill(own_AC, -torch.inf)
    denominator_A = torch.cat([positive_A[:, None], fused_AC, modality_AC], dim=1).logsumexp(dim=1)
    return (denominator_A - positive_A).sum()
