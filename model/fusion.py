"""Attention over an item's modalities (method.md, section 3; MICRO, arXiv:2111.00678, equations 8 to 10).

Shapes: I items, M modalities, D dimension.
"""

import torch
from torch import Generator, Tensor, nn


class AttentionFusion(nn.Module):
    """h_i = sum_m alpha_im h_im with alpha = softmax over the modalities the item has of q . tanh(W h + b)."""

    def __init__(self, dim: int, generator: Generator) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.query = nn.Linear(dim, 1, bias=False)
        for layer in (self.hidden, self.query):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(self.hidden.bias)

    def forward(self, modality_IMD: Tensor, present_IM: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the modality vectors of every item.

        Args:
            modality_IMD: float32.
            present_IM: bool; an absent modality gets weight 0 and no gradient.

        Returns:
            fused_ID, and weight_IM whose rows sum to 1, or to 0 for an item without any modality.
        """
        logit_IM = self.query(torch.tanh(self.hidden(modality_IMD))).squeeze(-1)
        # A finite stand-in for -inf: an item without any modality would otherwise give 0/0.
        logit_IM = logit_IM.masked_fill(~present_IM, torch.finfo(logit_IM.dtype).min)
        weight_IM = torch.softmax(logit_IM, dim=1) * present_IM
        return (weight_IM[:, :, None] * modality_IMD).sum(1), weight_IM
