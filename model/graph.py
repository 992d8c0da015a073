"""Item-item graphs mined from content: cosine k-nearest neighbours, in blocks.

MICRO (arXiv:2111.00678), equations 1 to 4. No I x I matrix ever exists: memory is O(I K) plus one block.
Shapes: I items, P items present, K neighbours, D dimension.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from model.approximate import Cells, approximate_top_k, followed_top_k, measured_recall
from model.config import GraphMethod
from model.exact import HALF_ROWS, top_k_by_float16, top_k_by_halves, top_k_by_rows
from model.normalisation import normalise_edges
from model.parallel import WHOLE, Columns
from model.sparse import neighbour_products


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which way neighbours are searched, and the sizes that decide how fast; the defaults are measured."""

    faiss_items: int = 60_000
    """From here on approximate graphs are faster on a CPU (docs/decisions/0021-followed-graphs.md)."""
    wide: int = 512
    """Dimensions from which a product costs more than finding the largest of its entries."""
    half_rows: int = HALF_ROWS
    """Rows of a block where each pair is multiplied once."""
    cells: Cells = field(default_factory=Cells)
    """Of an approximate search."""

    def is_approximate(self, method: GraphMethod, num_items: int, device: torch.device) -> bool:
        """Whether this method is approximate for so many items."""
        return method == "faiss" or (method == "auto" and num_items >= self.faiss_items and device.type != "cuda")


SEARCH = Search()


@dataclass(frozen=True)
class NeighbourGraph:
    """The k nearest neighbours of every item of one modality, itself included as the first.

    An item that lacks the modality has no edge: its similarities are 0 and its neighbours are itself.
    """

    neighbour_IK: Tensor
    """int64, item indices; the item itself where a neighbour that was found approximately has no positive cosine."""
    similarity_IK: Tensor
    """float32, cosine clipped at 0."""
    recall: float | None = None
    """Share of the true neighbours found, measured on a sample; None where the graph is exact."""

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
def nearest_neighbours(
    feature_ID: Tensor,
    present_I: Tensor,
    num_neighbours: int,
    method: GraphMethod = "exact",
    earlier_IK: Tensor | None = None,
    search: Search = SEARCH,
) -> NeighbourGraph:
    """Cosine k-nearest neighbours of every item among the items that have the modality.

    Args:
        feature_ID: float32, one row an item; rows of absent items are ignored.
        present_I: bool, whether the item has the modality.
        num_neighbours: K; the item itself counts as one. With fewer items present, the rest has weight 0.
        method: `exact`, `faiss` (approximate; its recall is measured), or `auto`, which is `faiss` on a CPU from
            `search.faiss_items` items on.
        earlier_IK: int64, the neighbours before the features changed a little; an approximate search begins there.
        search: which way.

    Raises `ImportError` where faiss is wanted and not installed.
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
    recall = None
    if search.is_approximate(method, len(present), unit_PD.device):
        begin_PK = None if earlier_IK is None else _places(present)[earlier_IK[present, :kept]]
        value_PK, index_PK = _approximate(unit_PD, kept, begin_PK, search.cells)
        recall = measured_recall(unit_PD, index_PK)
    elif unit_PD.is_cuda:
        value_PK, index_PK = top_k_by_float16(unit_PD, kept)
    elif unit_PD.shape[1] >= search.wide:
        value_PK, index_PK = top_k_by_halves(unit_PD, kept, search.half_rows)
    else:
        value_PK, index_PK = top_k_by_rows(unit_PD, kept)
    value_PK[:, 0] = (unit_PD * unit_PD).sum(1)
    neighbour_IK[present, :kept] = present[index_PK]
    similarity_IK[present, :kept] = value_PK.clamp(min=0)
    return NeighbourGraph(neighbour_IK, similarity_IK, recall)


def _approximate(unit_PD: Tensor, kept: int, begin_PK: Tensor | None, cells: Cells) -> tuple[Tensor, Tensor]:
    """Followed from the places that were neighbours earlier, or from what a search finds; own place where none is."""
    if begin_PK is None:
        begin_PK = approximate_top_k(unit_PD, kept, cells)
    value_PK, index_PK = followed_top_k(unit_PD, begin_PK)
    own_P1 = torch.arange(len(unit_PD), device=unit_PD.device)[:, None]
    return value_PK, torch.where(value_PK > 0, index_PK, own_P1)


def _places(present: Tensor) -> Tensor:
    """The place among the present items by item; undefined for others."""
    place_I = torch.zeros(int(present[-1]) + 1, dtype=torch.int64, device=present.device)
    place_I[present] = torch.arange(len(present), device=present.device)
    return place_I


@torch.no_grad()
def known_neighbours(feature_ID: Tensor, present_I: Tensor, neighbour_IK: Tensor) -> NeighbourGraph:
    """The graph of these neighbours, as an approximate search gave it that found them with these features."""
    own_I1 = torch.arange(len(feature_ID), device=feature_ID.device)[:, None]
    found_IK = present_I[:, None] & (neighbour_IK != own_I1)
    found_IK[:, 0] = present_I
    present = present_I.nonzero().squeeze(1)
    place_PK = _places(present)[neighbour_IK[present, : len(present)]]
    recall = measured_recall(F.normalize(feature_ID[present], dim=1), place_PK)
    return similarity_of_neighbours(feature_ID, NeighbourGraph(neighbour_IK, found_IK.to(feature_ID.dtype), recall))


def similarity_of_neighbours(feature_ID: Tensor, graph: NeighbourGraph, columns: Columns = WHOLE) -> NeighbourGraph:
    """Recompute the similarities of the neighbours already chosen, with a gradient for `feature_ID`.

    Edges of weight 0 in `graph` (absent items, negative similarity) stay 0. `columns` says which of D these are.
    """
    unit_ID = columns.unit_rows(feature_ID)
    cosine_IK = columns.total(neighbour_products(unit_ID, graph.neighbour_IK))
    similarity_IK = cosine_IK.clamp(min=0)
    return NeighbourGraph(graph.neighbour_IK, similarity_IK * (graph.similarity_IK > 0), graph.recall)
