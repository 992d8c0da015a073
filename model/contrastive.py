"""Contrastive fusion loss (MICRO, arXiv:2111.00678, equation 11).

    l_m(i) = -log  exp(s(h_mi, h_i)/t) / ( sum_j exp(s(h_mi, h_j)/t) + sum_{j != i} exp(s(h_mi, h_mj)/t) )

with s the cosine and t the temperature. One function serves both forms: with every item as anchor and as
candidate it is exact; with sampled candidates the two sums are importance-weighted estimates (the logQ
correction), in which the positive pair always stands with its exact weight.
Shapes: I items, A anchors, C candidates, K = 2C keys (the candidates' fused and modality vectors), D dimension.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.blocks import Block
from model.gather import gather_rows
from model.parallel import WHOLE, Columns

SIMILARITIES = Block(1 << 20)  # 4 MiB of float32: they stay in cache


def contrastive_loss(
    modality_ID: Tensor,
    fused_ID: Tensor,
    anchor_A: Tensor,
    candidate_C: Tensor,
    log_count_C: Tensor,
    temperature: float,
    columns: Columns = WHOLE,
    block: Block = SIMILARITIES,
) -> Tensor:
    """Mean of l_m(i) over the anchors, for one modality.

    Args:
        modality_ID, fused_ID: h_m and h of all items, of any length (normalised here).
        anchor_A: int64, items to average over. Must have the modality.
        candidate_C: int64, items that the denominator's sums run over. Must have the modality.
        log_count_C: log of how often each candidate was expected to be drawn; 0 where each item stands once.
        temperature: t > 0.
        columns: which columns the vectors have.
        block: similarities held at once.

    Returns:
        Scalar; 0 without anchors.
    """
    if not len(anchor_A):
        return modality_ID.sum() * 0
    modality_AD, fused_AD = (_unit_rows(source_ID, anchor_A, columns) for source_ID in (modality_ID, fused_ID))
    modality_CD, fused_CD = modality_AD, fused_AD
    if candidate_C is not anchor_A:
        modality_CD, fused_CD = (_unit_rows(source_ID, candidate_C, columns) for source_ID in (modality_ID, fused_ID))
    query_AD = modality_AD / temperature
    positive_A = columns.total((query_AD * fused_AD).sum(1))
    key_KD, log_count_K = torch.cat([fused_CD, modality_CD]), log_count_C.repeat(2)
    denominator = _LogDenominator.apply(
        query_AD, positive_A, key_KD, log_count_K, anchor_A, candidate_C.repeat(2), columns, block
    )
    loss: Tensor = (denominator - positive_A.sum()) / len(anchor_A)
    return loss


def _unit_rows(source_ID: Tensor, index_A: Tensor, columns: Columns) -> Tensor:
    return columns.unit_rows(gather_rows(source_ID, index_A))


class _LogDenominator(torch.autograd.Function):
    """Sum over anchors of log(exp(positive) + sum_k exp(query . key_k - log_count_k)), without the anchor's own keys.

    Chunk after chunk of anchors; a chunk's gradient is taken at once, from the very similarities in hand, so that
    nothing of size A x K is kept for the backward pass or computed again in it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_AD: Tensor,
        positive_A: Tensor,
        key_KD: Tensor,
        log_count_K: Tensor,
        anchor_A: Tensor,
        item_K: Tensor,
        columns: Columns,
        block: Block,
    ) -> Tensor:
        query_grad_AD, positive_grad_A = torch.empty_like(query_AD), torch.empty_like(positive_A)
        key_grad_KD = torch.zeros_like(key_KD)
        total = query_AD.new_zeros(())
        log_count_K = log_count_K / columns.count  # subtracted once by each process
        chunk = block.rows(len(key_KD), key_KD.device)
        for start in range(0, len(query_AD), chunk):
            part = slice(start, start + chunk)
            logit_AK = columns.total(torch.addmm(log_count_K, query_AD[part], key_KD.T, beta=-1))
            logit_AK.masked_fill_(anchor_A[part, None] == item_K, -torch.inf)
            largest_A = torch.maximum(logit_AK.amax(1), positive_A[part])
            share_AK = logit_AK.sub_(largest_A[:, None]).exp_()
            positive_share_A = (positive_A[part] - largest_A).exp()
            sum_A = share_AK.sum(1) + positive_share_A
            total += (largest_A + sum_A.log()).sum()
            share_AK /= sum_A[:, None]
            query_grad_AD[part] = share_AK @ key_KD
            positive_grad_A[part] = positive_share_A / sum_A
            key_grad_KD.addmm_(share_AK.T, query_AD[part])
        ctx.save_for_backward(query_grad_AD, positive_grad_A, key_grad_KD)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query_grad_AD, positive_grad_A, key_grad_KD = ctx.saved_tensors
        return grad * query_grad_AD, grad * positive_grad_A, grad * key_grad_KD, None, None, None, None, None
