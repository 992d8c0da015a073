"""Item-item graphs mined from content: cosine k-nearest neighbours, in blocks.

MICRO (arXiv:2111.00678), equations 1 to 4. No I x I matrix ever exists: memory is O(I K) plus one block.
Shapes: I items, P items present, K neighbours, D dimension, C rows of a chunk.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.approximate import approximate_top_k, followed_top_k, measured_recall
from model.config import GraphMethod
from model.normalisation import normalise_edges
from model.parallel import WHOLE, Columns
from model.sparse import neighbour_products
from model.topk import rows_at_once, top_k

BLOCK_ELEMENTS = 1 << 21  # similarities held at once (8 MiB of float32: they stay in cache)
WIDE = 512  # dimensions from which a product costs more than finding the largest of its entries
HALF_ROWS, HALF_BLOCK_ELEMENTS = 1024, 1 << 25
FLOAT16_ELEMENTS = 1 << 31  # similarities held at once on a GPU (4 GiB)
FLOAT16_ROWS = 256  # of whose multiples a block consists: what a GPU's matrix units take at once
FLOAT16_CANDIDATES = 4  # times K
FAISS_ITEMS = 60_000  # from here on approximate graphs are faster (docs/decisions/0021-followed-graphs.md)
OWN = 2.0  # more than any cosine


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
) -> NeighbourGraph:
    """Cosine k-nearest neighbours of every item among the items that have the modality.

    Args:
        feature_ID: float32, one row an item; rows of absent items are ignored.
        present_I: bool, whether the item has the modality.
        num_neighbours: K; the item itself counts as one. With fewer items present, the rest has weight 0.
        method: `exact`, `faiss` (approximate; its recall is measured), or `auto`, which is `faiss` on a CPU from
            `FAISS_ITEMS` items on.
        earlier_IK: int64, the neighbours before the features changed a little; an approximate search begins there.

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
    if method == "faiss" or (method == "auto" and len(present) >= FAISS_ITEMS and not unit_PD.is_cuda):
        value_PK, index_PK = _approximate(unit_PD, kept, present, None if earlier_IK is None else earlier_IK[present])
        recall = measured_recall(unit_PD, index_PK)
    elif unit_PD.is_cuda:
        value_PK, index_PK = _top_k_by_float16(unit_PD, kept)
    elif unit_PD.shape[1] >= WIDE:
        value_PK, index_PK = _top_k_by_halves(unit_PD, kept)
    else:
        value_PK, index_PK = _top_k_by_rows(unit_PD, kept)
    value_PK[:, 0] = (unit_PD * unit_PD).sum(1)
    neighbour_IK[present, :kept] = present[index_PK]
    similarity_IK[present, :kept] = value_PK.clamp(min=0)
    return NeighbourGraph(neighbour_IK, similarity_IK, recall)


def _approximate(unit_PD: Tensor, kept: int, present: Tensor, earlier_PK: Tensor | None) -> tuple[Tensor, Tensor]:
    """Followed from the items that were neighbours earlier, or from what a search finds; own place where none is."""
    begin_PK = approximate_top_k(unit_PD, kept) if earlier_PK is None else _places(present)[earlier_PK[:, :kept]]
    value_PK, index_PK = followed_top_k(unit_PD, begin_PK)
    own_P1 = torch.arange(len(present), device=present.device)[:, None]
    return value_PK, torch.where(value_PK > 0, index_PK, own_P1)


def _places(present: Tensor) -> Tensor:
    """The place among the present items by item; undefined for others."""
    place_I = torch.zeros(int(present[-1]) + 1, dtype=torch.int64, device=present.device)
    place_I[present] = torch.arange(len(present), device=present.device)
    return place_I


def _top_k_by_rows(unit_PD: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Every similarity, some rows at a time: for narrow features, where finding the largest is the work."""
    # Filled in place: small results kept between blocks would keep the allocator from reusing a block's memory.
    value_PK = unit_PD.new_empty(len(unit_PD), kept)
    index_PK = torch.empty(len(unit_PD), kept, dtype=torch.int64, device=unit_PD.device)
    chunk = rows_at_once(len(unit_PD), unit_PD.device, BLOCK_ELEMENTS)
    for row_C in torch.arange(len(unit_PD), device=unit_PD.device).split(chunk):
        sim_CP = unit_PD[row_C] @ unit_PD.T
        # The item itself comes first even where another item has the very same content.
        sim_CP[torch.arange(len(row_C), device=row_C.device), row_C] = OWN
        value_PK[row_C], index_PK[row_C] = top_k(sim_CP, kept)
    return value_PK, index_PK


def _top_k_by_halves(unit_PD: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Each pair's similarity once: for wide features, where the product is the work, and half of it is saved.

    A block of rows meets the items from its first on; what it finds for the later ones joins what they had.
    """
    num_items = len(unit_PD)
    value_PK = unit_PD.new_full((num_items, kept), -OWN)
    index_PK = torch.zeros(num_items, kept, dtype=torch.int64, device=unit_PD.device)

    def join(begin: int, end: int, value_CK: Tensor, index_CK: Tensor) -> None:
        value_CL = torch.cat([value_PK[begin:end], value_CK], dim=1)
        index_CL = torch.cat([index_PK[begin:end], index_CK], dim=1)
        top = value_CL.topk(kept, dim=1)
        value_PK[begin:end], index_PK[begin:end] = top.values, index_CL.gather(1, top.indices)

    chunk = min(HALF_ROWS, rows_at_once(num_items, unit_PD.device, HALF_BLOCK_ELEMENTS))
    for start in range(0, num_items, chunk):
        end = min(start + chunk, num_items)
        sim_CP = unit_PD[start:end] @ unit_PD[start:].T
        sim_CP.fill_diagonal_(OWN)
        value_CK, index_CK = top_k(sim_CP, min(kept, num_items - start))
        join(start, end, value_CK, index_CK + start)
        if end < num_items:
            value_CK, index_CK = top_k(sim_CP[:, end - start :].T.contiguous(), min(kept, end - start))
            join(end, num_items, value_CK, index_CK + start)
    return value_PK, index_PK


def _top_k_by_float16(unit_PD: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Every similarity in float16, as fast as a GPU multiplies; those of the largest 4 K again in float32.

    Rounding moves a cosine by less than 0.0015 (two factors by 2^-11 of their length each, the result by 2^-12; sums
    are float32's), so that an item is lost only behind 3 K others that are less similar by twice that at most.
    """
    num_items, num_candidates = len(unit_PD), min(FLOAT16_CANDIDATES * kept, len(unit_PD))
    candidate_PL = torch.empty(num_items, num_candidates, dtype=torch.int64, device=unit_PD.device)
    half_PD, own_P = unit_PD.half(), torch.arange(num_items, device=unit_PD.device)
    chunk = max(1, FLOAT16_ELEMENTS // num_items)
    chunk -= chunk % FLOAT16_ROWS if chunk > FLOAT16_ROWS else 0
    for row_C in own_P.split(chunk):
        sim_CP = half_PD[row_C] @ half_PD.T
        sim_CP[own_P[: len(row_C)], row_C] = OWN
        candidate_PL[row_C] = top_k(sim_CP, num_candidates)[1]
    sim_PL = neighbour_products(unit_PD, candidate_PL).masked_fill_(candidate_PL == own_P[:, None], OWN)
    top = sim_PL.topk(kept, dim=1)
    return top.values, candidate_PL.gather(1, top.indices)


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
