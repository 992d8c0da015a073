"""Approximate k-nearest neighbours for catalogues where the exact search takes too long; faiss is loaded only here.

An inverted file: k-means cells, of which a query searches the nearest few. It is rebuilt in the same way for the same
input, seed and number of threads, which a graph index built by several threads (HNSW) is not.
Shapes: P items, D dimension, K neighbours, S items of a sample.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from model.topk import top_k

CELLS_PER_ROOT = 4  # cells = 4 sqrt(P)
PROBES = 64
TRAINING_ROWS_PER_CELL = 40
ITERATIONS = 8
SAMPLE = 500


def approximate_top_k(unit_PD: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Similarities and int64 places (P, K) of about the K most similar rows of every row, itself first.

    Args:
        unit_PD: float32, rows of length 1 (or 0).
        kept: K, at most P.
    """
    row_PD = np.ascontiguousarray(unit_PD.cpu().numpy(), dtype=np.float32)
    value, index = _index(row_PD).search(row_PD, kept)
    value_PK, index_PK = torch.from_numpy(value), torch.from_numpy(index)
    own_P1 = torch.arange(len(row_PD))[:, None]
    # The item itself first, even where equal content or an unsearched cell hides it; places not filled keep weight 0.
    value_PK.masked_fill_(index_PK == own_P1, -torch.inf).clamp_(min=-2.0)
    value_PK, index_PK = (
        torch.cat([torch.full_like(value_PK[:, :1], 2.0), value_PK], 1),
        torch.cat([own_P1, index_PK], 1),
    )
    top = value_PK.topk(kept, dim=1)
    return top.values.to(unit_PD), index_PK.gather(1, top.indices).clamp(min=0).to(unit_PD.device)


def _index(row_PD: np.ndarray) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "model.graph = 'faiss' needs faiss; install faiss-cpu or set model.graph = 'exact'"
        ) from error
    num_rows, dim = row_PD.shape
    num_cells = max(1, min(round(CELLS_PER_ROOT * math.sqrt(num_rows)), num_rows // TRAINING_ROWS_PER_CELL))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, num_cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed, index.cp.max_points_per_centroid = ITERATIONS, 1, TRAINING_ROWS_PER_CELL
    index.train(row_PD)
    index.add(row_PD)
    index.nprobe = min(PROBES, num_cells)
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
