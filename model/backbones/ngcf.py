"""NGCF (Wang et al., arXiv:1905.08108), with the layers averaged as in MICRO's code.

Shapes: U users, I items, N = U + I nodes, D dimension.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.backbones.backbone import Backbone
from model.parallel import WHOLE, Columns
from model.user_item import UserItemGraph

MESSAGE_DROPOUT = 0.1


class NGCF(Backbone):
    """Per layer: LeakyReLU(W1 A E) + LeakyReLU(W2 (E * A E)), message dropout, L2 normalisation.

    Deviations from the paper, with MICRO's authors (docs/decisions/0023-baselines.md): two activations a layer, of one
    term each, and no self-connection; layers are averaged instead of concatenated, so that vectors keep dimension D.
    """

    node_tensors = 12

    def __init__(
        self, *, adjacency: UserItemGraph, dim: int, num_layers: int, generator: Generator, columns: Columns = WHOLE
    ) -> None:
        super().__init__(adjacency=adjacency, dim=dim, num_layers=num_layers, generator=generator, columns=columns)
        self.adjacency, self.generator, self.columns, self.dim = adjacency, generator, columns, dim
        layers = [nn.Linear(dim, dim) for _ in range(2 * num_layers)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.sum_weight = nn.ModuleList(columns.linear(layer) for layer in layers[:num_layers])
        self.product_weight = nn.ModuleList(columns.linear(layer) for layer in layers[num_layers:])

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of the normalised layers, layer 0 as it is."""
        layer_ND = torch.cat([user_UD, item_ID])
        total_ND = layer_ND
        for sum_weight, product_weight in zip(self.sum_weight, self.product_weight, strict=True):
            side_ND = self.adjacency @ layer_ND
            layer_ND = F.leaky_relu(sum_weight(side_ND)) + F.leaky_relu(product_weight(layer_ND * side_ND))
            layer_ND = self._dropout(layer_ND)
            total_ND = total_ND + self.columns.unit_rows(layer_ND)
        mean_ND = total_ND / (len(self.sum_weight) + 1)
        return mean_ND[: len(user_UD)], mean_ND[len(user_UD) :]

    def _dropout(self, layer_ND: Tensor) -> Tensor:
        """Dropout from the training's own generator, so that a resumed run repeats it."""
        if not self.training:
            return layer_ND
        generator, device = self.generator, layer_ND.device
        draw_ND = self.columns.draw(len(layer_ND), self.dim, lambda block: block.uniform_(generator=generator), device)
        return layer_ND * (draw_ND >= MESSAGE_DROPOUT) / (1 - MESSAGE_DROPOUT)
