"""Normalisation of adjacency matrices: the one place for it.

Shapes: E edges.
"""

import torch
from torch import Tensor

from model.config import Normalisation
from model.gather import gather_rows


def normalise_edges(
    row_E: Tensor,
    column_E: Tensor,
    weight_E: Tensor,
    num_nodes: int,
    normalisation: Normalisation = "symmetric",
) -> Tensor:
    """Normalise a square adjacency matrix given by its edges; differentiable in the weights.

    `symmetric`: w_ij / sqrt(d_i d_j) (Kipf & Welling, arXiv:1609.02907; LightGCN, arXiv:2002.02126, eq. 3);
    `row`: w_ij / d_i, with d the row sums. A node of degree zero gives weight 0, never inf or NaN.

    Args:
        row_E, column_E: int64 (E,).
        weight_E: float (E,), not negative.
        num_nodes: rows (= columns) of the matrix.

    Returns:
        float (E,), in the order given.
    """
    degree = torch.zeros(num_nodes, dtype=weight_E.dtype, device=weight_E.device).index_add(0, row_E, weight_E)
    connected = degree > 0
    safe = torch.where(connected, degree, 1.0)
    if normalisation == "row":
        return weight_E * gather_rows(torch.where(connected, 1 / safe, 0.0), row_E)
    scale = torch.where(connected, safe.rsqrt(), 0.0)
    return weight_E * gather_rows(scale, row_E) * gather_rows(scale, column_E)
