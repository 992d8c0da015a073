"""Fusion of an item's modality vectors into one, by attention (MICRO, arXiv:2111.00678) or one of its ablations.

Everything downstream takes the fused vector's direction only, so `sum` and `mean` are one model.
Shapes: I items, M modalities, D dimension.
"""

import torch
from torch import Generator, Tensor, nn

from model.config import FusionName
from model.parallel import WHOLE, Columns


class Fusion(nn.Module):
    """Takes modality vectors (I, M, D) and whether an item has them, bool (I, M).

    Returns fused_ID and weight_IM, whose rows sum to 1, or to 0 for an item without any modality. A modality that
    an item lacks has weight 0, no influence and no gradient.
    """

    def __init__(self, num_modalities: int, dim: int, generator: Generator, columns: Columns = WHOLE) -> None:
        """Args: M; D; what parameters are drawn from; which of the D columns this process has."""
        super().__init__()
        self.columns = columns

    def forward(self, modality_IMD: Tensor, present_IM: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum with the weights of `weights`."""
        weight_IM = self.weights(modality_IMD, present_IM)
        return (self.columns.shared(weight_IM)[:, :, None] * modality_IMD).sum(1), weight_IM

    def weights(self, modality_IMD: Tensor, present_IM: Tensor) -> Tensor:
        """Equal ones, unless a subclass knows better."""
        return present_IM / present_IM.sum(1, keepdim=True).clamp(min=1)


class AttentionFusion(Fusion):
    """alpha = softmax over the modalities the item has of q . tanh(W h + b); MICRO, equations 8 to 10."""

    def __init__(self, num_modalities: int, dim: int, generator: Generator, columns: Columns = WHOLE) -> None:
        super().__init__(num_modalities, dim, generator, columns)
        hidden, query = nn.Linear(dim, dim), nn.Linear(dim, 1, bias=False)
        for layer in (hidden, query):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(hidden.bias)
        self.hidden, self.query = columns.linear(hidden), columns.linear(query)

    def weights(self, modality_IMD: Tensor, present_IM: Tensor) -> Tensor:
        """Per item, from its own vectors."""
        return _masked_softmax(self.query(torch.tanh(self.hidden(modality_IMD))).squeeze(-1), present_IM)


class GraphFusion(Fusion):
    """One learned weight a modality, the same for all items: LATTICE (arXiv:2104.09036), equation 8.

    LATTICE mixes the modalities' graphs before the convolution; as the convolution is linear, mixing every
    layer's results with these weights is that.
    """

    def __init__(self, num_modalities: int, dim: int, generator: Generator, columns: Columns = WHOLE) -> None:
        super().__init__(num_modalities, dim, generator, columns)
        self.logit_M = nn.Parameter(torch.zeros(num_modalities))

    def weights(self, modality_IMD: Tensor, present_IM: Tensor) -> Tensor:
        """The softmax of the learned logits over the modalities that the item has."""
        return _masked_softmax(self.logit_M.expand(len(present_IM), -1), present_IM)


class ConcatFusion(Fusion):
    """h = W [h_1; ...; h_M] + b; an absent modality stands as zeros. The weights it reports are equal ones."""

    def __init__(self, num_modalities: int, dim: int, generator: Generator, columns: Columns = WHOLE) -> None:
        super().__init__(num_modalities, dim, generator, columns)
        merge = nn.Linear(num_modalities * dim, dim)
        nn.init.xavier_uniform_(merge.weight, generator=generator)
        nn.init.zeros_(merge.bias)
        self.merge = columns.linear(merge, blocks=num_modalities)

    def forward(self, modality_IMD: Tensor, present_IM: Tensor) -> tuple[Tensor, Tensor]:
        """Return the linear map of the concatenation, zero for an item without any modality."""
        merged_ID = self.merge((modality_IMD * present_IM[:, :, None]).flatten(1))
        return merged_ID * present_IM.any(1, keepdim=True), self.weights(modality_IMD, present_IM)


FUSIONS: dict[FusionName, type[Fusion]] = {
    "attention": AttentionFusion,
    "mean": Fusion,
    "sum": Fusion,
    "concat": ConcatFusion,
    "graph": GraphFusion,
}


def _masked_softmax(logit_IM: Tensor, present_IM: Tensor) -> Tensor:
    # A finite stand-in for -inf: an item without any modality would otherwise give 0/0.
    logit_IM = logit_IM.masked_fill(~present_IM, torch.finfo(logit_IM.dtype).min)
    return torch.softmax(logit_IM, dim=1) * present_IM
