"""Item-item graphs mined from content: exact cosine k-nearest neighbours, in blocks (method.md, section 1).

MICRO (arXiv:2111.00678), equations 1 to 4. No I x I matrix ever exists: memory is O(I K) plus one block.
Shapes: I items, K neighbours, D dimension, C rows of a chunk.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.gather import gather_rows
from model.normalisation import normalise_edges

BLOCK_ELEMENTS = 1 << 25  # similarities held at once (128 MiB of float32)


@dataclass(frozen=True)
class NeighbourGraph:
    """The k nearest neighbours of every item of one modality, itself included as the first.

    An item that lacks the modality has no edge: its similarities are 0 and its neighbours are itself.
    """

    neighbour_IK: Tensor
    """int64, item indices."""
    similarity_IK: Tensor
    """float32, cosine clipped at 0."""

    def edges(self) -> tuple[Tensor, Tensor]:
        """Row and column of every edge, int64 (I*K,) each."""
        num_items, num_neighbours = self.neighbour_IK.shape
        row = torch.arange(num_items, device=self.neighbour_IK.device).repeat_interleave(num_neighbours)
        return row, self.neighbour_IK.reshape(-1)

    def normalised(self) -> Tensor:
        """Edge weights of D^-1/2 S D^-1/2, float32 (I, K)."""
        row, column = self.edges()
        weight = normalise_edges(row, column, self.similarity_IK.reshape(-1), len(self.neighbour_IK))
        return weight.view_as(self.similarity_IK)


@torch.no_grad()
def nearest_neighbours(feature_ID: Tensor, present_I: Tensor, num_neighbours: int) -> NeighbourGraph:
    """Exact cosine k-nearest neighbours of every item among the items that have the modality.

    Args:
        feature_ID: float32, one row an item; rows of absent items are ignored.
        present_I: bool, whether the item has the modality.
        num_neighbours: K; the item itself counts as one. With fewer items present, the rest has weight 0.
    """
    num_items = len(feature_ID)
    own_I1 = torch.arange(num_items, device=feature_ID.device)[:, None]
    neighbour_IK = own_I1.repeat(1, num_neighbours)
    similarity_IK = feature_ID.new_zeros((num_items, num_neighbours))
    present = present_I.nonzero().squeeze(1)
    if not len(present):
        return NeighbourGraph(neighbour_IK, similarity_IK)
    unit_PD = F.normalize(feature_ID[present], dim=1)
    kept = min(num_neighbours, len(present))
    chunk = max(1, BLOCK_ELEMENTS // len(present))
    for start in range(0, len(present), chunk):
        rows = torch.arange(start, min(start + chunk, len(present)), device=feature_ID.device)
        sim_CP = unit_PD[rows] @ unit_PD.T
        # The item itself comes first even where another item has the very same content.
        sim_CP[torch.arange(len(rows), device=rows.device), rows] = 2.0
        value_CK, index_CK = sim_CP.topk(kept, dim=1)
        value_CK[:, 0] = (unit_PD[rows] * unit_PD[rows]).sum(1)
        neighbour_IK[present[rows], :kept] = present[index_CK]
        similarity_IK[present[rows], :kept] = value_CK.clamp(min=0)
    return NeighbourGraph(neighbour_IK, similarity_IK)


def similarity_of_neighbours(feature_ID: Tensor, graph: NeighbourGraph) -> NeighbourGraph:
    """Recompute the similarities of the neighbours already chosen, with a gradient for `feature_ID`.

    Edges of weight 0 in `graph` (absent items, negative similarity) stay 0.
    """
    unit_ID = F.normalize(feature_ID, dim=1)
    similarity_IK = torch.einsum("id,ikd->ik", unit_ID, gather_rows(unit_ID, graph.neighbour_IK)).clamp(min=0)
    return NeighbourGraph(graph.neighbour_IK, similarity_IK * (graph.similarity_IK > 0))
