"""Approximate k-nearest neighbours for catalogues where the exact search takes too long; faiss is loaded only here.

A search from nothing is an inverted file's: k-means cells, of which a query searches the nearest few. It is rebuilt in
the same way for the same input, seed and number of threads, which a graph index built by several threads (HNSW) is not.
A round of NN-descent (Dong, Moses & Li, WWW 2011), in time proportional to P, finds much of what a search has missed,
and what has changed where vectors have moved a little.
Shapes: P items, D dimension, K neighbours, R reverse neighbours, C candidates of a row, B rows of a block, S items of
a sample.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from model.topk import top_k

SAMPLE = 500
REVERSE = 5
GATHERED_ELEMENTS = 1 << 22  # candidates' vectors held at once (16 MiB of float32)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells of the inverted file."""

    per_root: int = 4
    """Number of cells, in square roots of P."""
    training_rows: int = 40
    """Rows that k-means sees for each cell; with fewer rows there are fewer cells."""
    iterations: int = 8
    """Iterations of k-means."""
    probes: int = 64
    """Cells that a query searches."""


CELLS = Cells()


def approximate_top_k(unit_PD: Tensor, kept: int, cells: Cells = CELLS) -> Tensor:
    """Places, int64 (P, K), of about the K most similar rows of every row, itself first.

    Args:
        unit_PD: float32, rows of length 1 (or 0).
        kept: K, at most P.
    """
    row_PD = np.ascontiguousarray(unit_PD.cpu().numpy(), dtype=np.float32)
    _, index = _index(row_PD, cells).search(row_PD, kept)
    index_PK, own_P1 = torch.from_numpy(index), torch.arange(len(row_PD))[:, None]
    # The item itself first, even where equal content or an unsearched cell hides it, and where nothing was found.
    own_last_PK = ((index_PK == own_P1) | (index_PK < 0)).sort(dim=1, stable=True).indices
    others_PK = index_PK.gather(1, own_last_PK)[:, : kept - 1]
    return torch.cat([own_P1, torch.where(others_PK < 0, own_P1, others_PK)], dim=1).to(unit_PD.device)


def followed_top_k(unit_PD: Tensor, earlier_PK: Tensor, elements: int = GATHERED_ELEMENTS) -> tuple[Tensor, Tensor]:
    """Similarities and int64 places (P, K) of about the K most similar rows of every row, itself first.

    The best among an item, its earlier neighbours, the nearest of those that had it as theirs, and the earlier
    neighbours of all of these.

    Args:
        unit_PD: float32, rows of length 1 (or 0).
        earlier_PK: int64, what a search found, or what was right when the rows were a little different; itself first.
        elements: of candidates' vectors, held at once.
    """
    num_rows, kept = earlier_PK.shape
    value_PK, index_PK = unit_PD.new_empty(num_rows, kept), torch.empty_like(earlier_PK)
    near_PN = torch.cat([earlier_PK, _reverse(earlier_PK)], dim=1)
    block = max(1, elements // (near_PN.shape[1] * kept * unit_PD.shape[1]))
    for row_B in torch.arange(num_rows, device=unit_PD.device).split(block):
        candidate_BC = earlier_PK[near_PN[row_B]].flatten(1).sort(dim=1).values
        candidate_BCD = unit_PD.index_select(0, candidate_BC.flatten()).view(*candidate_BC.shape, -1)
        similarity_BC = torch.bmm(candidate_BCD, unit_PD[row_B, :, None]).squeeze(2)
        similarity_BC[candidate_BC == row_B[:, None]] = 2.0
        similarity_BC[:, 1:][candidate_BC[:, 1:] == candidate_BC[:, :-1]] = -2.0
        value_PK[row_B], place_BK = similarity_BC.topk(kept, dim=1)
        index_PK[row_B] = candidate_BC.gather(1, place_BK)
    return value_PK, index_PK


def _reverse(neighbour_PK: Tensor) -> Tensor:
    """Up to R rows that have a row as their neighbour, the nearest first; the rest is filled with the row itself."""
    num_rows, kept = neighbour_PK.shape
    own_P = torch.arange(num_rows, device=neighbour_PK.device)
    # Rank by rank in the list of neighbours, so that a stable sort leaves the nearest first.
    owner_E, neighbour_E = own_P.repeat(kept - 1), neighbour_PK[:, 1:].T.flatten()
    neighbour_E, order_E = neighbour_E.sort(stable=True)
    rank_E = torch.arange(len(order_E), device=own_P.device) - torch.searchsorted(neighbour_E, own_P)[neighbour_E]
    first = rank_E < REVERSE
    reverse_PR = own_P[:, None].repeat(1, REVERSE)
    reverse_PR[neighbour_E[first], rank_E[first]] = owner_E[order_E[first]]
    return reverse_PR


def _index(row_PD: np.ndarray, cells: Cells) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "model.graph = 'faiss' needs faiss; install faiss-cpu or set model.graph = 'exact'"
        ) from error
    num_rows, dim = row_PD.shape
    num_cells = max(1, min(round(cells.per_root * math.sqrt(num_rows)), num_rows // cells.training_rows))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, num_cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed, index.cp.max_points_per_centroid = cells.iterations, 1, cells.training_rows
    index.train(row_PD)
    index.add(row_PD)
    index.nprobe = min(cells.probes, num_cells)
    return index


def measured_recall(unit_PD: Tensor, index_PK: Tensor) -> float:
    """Share of the exact neighbours, the item itself left out, that stand in `index_PK`; on a sample of items."""
    kept = index_PK.shape[1]
    if kept < 2:
        return 1.0
    generator = Generator().manual_seed(0)
    sample_S = torch.randperm(len(unit_PD), generator=generator)[:SAMPLE].to(unit_PD.device)
    found = 0
    for row_C in sample_S.split(16):
        sim_CP = unit_PD[row_C] @ unit_PD.T
        sim_CP[torch.arange(len(row_C), device=row_C.device), row_C] = 2.0
        _, exact_CK = top_k(sim_CP, kept)
        found += int((exact_CK[:, 1:, None] == index_PK[row_C, None, 1:]).any(2).sum())
    return found / (len(sample_S) * (kept - 1))
